"""The forms in which producers may speak, one module each; what they say ends in one shape."""
