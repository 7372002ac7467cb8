# escape: still running after the time limit
# status: timeout
while True:
    pass
