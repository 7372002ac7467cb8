# escape: a stack that overflows takes more than its own process along
# status: killed error memory timeout
import sys
sys.setrecursionlimit(10**8)
class A:
    def __getattr__(self, name):
        return getattr(self, name + "x")
def f(n):
    return [f(n + 1) for _ in (1,)]
f(0)
