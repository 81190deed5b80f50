"""Channels of a message: what each receiver is sent. Rendering only; nothing here sends."""
