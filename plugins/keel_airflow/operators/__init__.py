"""One thin operator per step of `keel.loop`: each opens the workspace, calls one function, and gives back its dict."""
