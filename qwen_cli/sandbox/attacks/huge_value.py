# escape: a value, a message or a name of enormous size reaches the caller
# reports: anything
class Huge:
    def __repr__(self):
        return "x" * (50 << 20)
raise ValueError(repr(Huge())) if False else None
Huge()
