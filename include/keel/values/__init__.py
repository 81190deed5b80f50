"""The one reading of a value: what a number, a category, an identity and a time are, in whatever form they arrive.

`keel.values.scalars` reads one value, `keel.values.columns` a column of any Arrow type, `keel.values.times` times and
`keel.values.names` names of columns. The scoring service, feedback, replay, the prediction log and the counting kernel
read by them, so that one value is one stored value and one answer: see docs/values.md. `keel.values.texts` goes
the other way: it makes any text harmless to show.
"""
