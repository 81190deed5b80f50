"""What requests hold and answers return, a module a subject."""
