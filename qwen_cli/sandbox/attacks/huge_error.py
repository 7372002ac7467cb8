# escape: a message of enormous size reaches the caller
# reports: error
raise ValueError("x" * (30 << 20))
