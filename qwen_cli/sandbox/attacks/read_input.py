# escape: reading standard input waits, or reads what is the caller's
import sys
try:
    print("ESCAPED:", input())
except EOFError:
    print("contained", repr(sys.stdin.read()) if sys.stdin else "")
