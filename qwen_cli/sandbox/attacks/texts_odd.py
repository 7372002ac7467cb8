# escape: a value or an error that cannot be told breaks the caller
# status: ok error killed memory
class Odd(Exception):
    def __repr__(self):
        return "\ud83d\x00\x1b[2J\u202e" * 1000 + "x" * (40 << 20)
    __str__ = __repr__
    @property
    def __class__(self):
        raise RuntimeError("no class")
class Worse(BaseException):
    def __repr__(self):
        raise self
    __str__ = __repr__
    def __getattribute__(self, name):
        raise Worse() if name.startswith("__tr") else AttributeError(name)
import sys
sys.excepthook = lambda *a: print("ESCAPED" * 0, a)
sys.displayhook = lambda value: print(value)
sys.modules["traceback"] = None
sys.modules["json"] = None
Worse.__qualname__ = "\udc00" * 10
try:
    raise Odd() from Odd()
except Odd:
    raise Worse()
