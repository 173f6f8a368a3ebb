"""pyserial drives a station over RFC 2217: URL of the station as argument; prints what it sees."""

import sys
import time

import serial

PATIENCE = 20  # seconds; only a failure waits for it


def wait_for(port, wanted):
    heard = b""
    end = time.monotonic() + PATIENCE
    while wanted not in heard:
        if time.monotonic() > end:
            sys.exit(f"waited for {wanted!r}, heard {heard!r}")
        heard += port.read(1)
    return heard


def wait_until(what, question):
    end = time.monotonic() + PATIENCE
    while not question():
        if time.monotonic() > end:
            sys.exit(f"waited for {what}")
        time.sleep(0.01)


caller = serial.serial_for_url(sys.argv[1], baudrate=57600, bytesize=7, parity="E", stopbits=2, timeout=0.1)
called = serial.serial_for_url(sys.argv[2], timeout=0.1)
caller.write(b"ATE0\r")
wait_for(caller, b"OK\r\n")
called.write(b"ATE0\r")
wait_for(called, b"OK\r\n")
assert not caller.cd and caller.dsr and caller.cts
print("OK")

caller.write(b"ATD202\r")
wait_until("RI", lambda: called.ri)
wait_until("RI off", lambda: not called.ri)
print("RI")
called.write(b"ATA\r")
wait_for(caller, b"CONNECT 1000000\r\n")
wait_for(called, b"CONNECT 1000000\r\n")
wait_until("DCD", lambda: caller.cd and called.cd)
print("DCD")

every = bytes(range(256)) * 4
caller.write(every)
heard = b""
end = time.monotonic() + PATIENCE
while len(heard) < len(every) and time.monotonic() < end:
    heard += called.read(4096)
assert heard == every, heard
print("DATA")

caller.baudrate = 9600
caller.parity = "N"
caller.rts = False
called.write(b"held")
assert caller.read(4) == b"", "RTS is off"
caller.rts = True
assert wait_for(caller, b"held")
print("RTS")

caller.dtr = False
wait_until("DCD off", lambda: not caller.cd and not called.cd)
wait_for(called, b"NO CARRIER\r\n")
print("HANGUP")
caller.dtr = True
caller.reset_input_buffer()
caller.write(b"AT\r")
wait_for(caller, b"OK\r\n")
caller.close()
called.close()
print("DONE")
