"""Windows' Unattend.xml: `answers` says what can be wished, `files` makes what stands on the disc."""
