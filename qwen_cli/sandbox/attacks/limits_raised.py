# escape: a limit of the kernel is raised or lifted
import resource
hits = []
for name in ("AS", "CPU", "FSIZE", "NOFILE", "NPROC", "CORE", "MEMLOCK", "MSGQUEUE", "SIGPENDING", "NICE", "RTPRIO", "STACK", "DATA"):
    which = getattr(resource, "RLIMIT_" + name)
    soft, hard = resource.getrlimit(which)
    if hard == resource.RLIM_INFINITY:
        if name in ("AS", "CPU", "FSIZE", "NOFILE", "CORE"):
            hits.append(name + " has none")
        continue
    for wanted in (hard + 1, hard * 2 + 1, resource.RLIM_INFINITY):
        try:
            resource.setrlimit(which, (soft, wanted))
            hits.append(name)
        except (OSError, ValueError, OverflowError):
            pass
print("ESCAPED:", hits) if hits else print("contained")
