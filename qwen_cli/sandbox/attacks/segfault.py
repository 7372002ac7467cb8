# escape: a crash takes more than its own process along
# status: killed
import ctypes
ctypes.string_at(0)
