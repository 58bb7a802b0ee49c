"""The daemon's own house: its configuration, and the doctor who looks whether the host is fit."""
