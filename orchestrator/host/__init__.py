"""The daemon's own house: its configuration, its log, and the doctor who looks whether the host is fit."""
