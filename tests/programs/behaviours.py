# Prints what a program sees of netlink sockets, a line for each behaviour: run inside a namespace, and by
# `nlr run` at the same namespace, the lines are equal. Numbers that the kernel chooses are not printed.
import array, ctypes, errno, fcntl, os, select, signal, socket, struct, sys, threading, time

ROUTE, GENERIC, XFRM = 0, 16, 6
SOL_NETLINK = 270
GETLINK, GETROUTE, GETADDR, NEWLINK, DONE, ERROR = 18, 26, 22, 16, 3, 2
REQUEST, MULTI, ACK, DUMP = 1, 2, 4, 0x300
libc = ctypes.CDLL(None, use_errno=True)

def name(number):
    return errno.errorcode.get(number, number)

def tried(f):
    try:
        return f()
    except socket.timeout:
        return 'timed out'
    except OSError as e:
        return name(e.errno)

def line(*words):
    print(*words)
    sys.stdout.flush()

def make(protocol=ROUTE, kind=socket.SOCK_RAW):
    return socket.socket(socket.AF_NETLINK, kind, protocol)

def message(kind, flags, body=b'', seq=7):
    return struct.pack('=IHHII', 16 + len(body), kind, flags, seq, 0) + body

GET_LO = message(GETLINK, REQUEST, struct.pack('=BxHiII', 0, 0, 1, 0, 0))
GET_NONE = message(GETLINK, REQUEST, struct.pack('=BxHiII', 0, 0, 9999, 0, 0))
LINKS = message(GETLINK, REQUEST | DUMP, struct.pack('=BxHiII', 0, 0, 0, 0, 0))
ROUTES = message(GETROUTE, REQUEST | DUMP, struct.pack('=BBBBBBBBI', 2, 0, 0, 0, 0, 0, 0, 0, 0))

def headers(data):
    out, at = [], 0
    while at + 16 <= len(data):
        length, kind, flags, seq, _ = struct.unpack_from('=IHHII', data, at)
        if length < 16:
            break
        out.append((kind, flags & MULTI, seq))
        at += (length + 3) & ~3
    return out

def dump(s, room=65536):
    kinds = []
    while True:
        found = headers(s.recv(room))
        kinds += found
        if not found or found[-1][0] in (DONE, ERROR):
            return kinds

# Making sockets.
for kind in (socket.SOCK_RAW, socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
    line('socket type', int(kind), tried(lambda: make(kind=kind).type))
for protocol in (0, 1, 2, 3, 6, 9, 12, 15, 16, 22, 23, 31, 32, 99, -1):
    line('socket protocol', protocol, tried(lambda: bool(make(protocol))))
line('socketpair', tried(lambda: socket.socketpair(socket.AF_NETLINK, socket.SOCK_RAW)))

# Names.
s = make()
line('unbound', s.getsockname(), s.getpeername())
s.bind((0, 0))
own = s.getsockname()[0]
line('bound', own != 0, s.getsockname()[1])
line('bound again', tried(lambda: s.bind((0, 0))), s.getsockname()[0] == own)
line('bound to another', tried(lambda: s.bind((own + 1, 0))))
line('bound to its own', tried(lambda: s.bind((own, 0))))
line('groups by bind', tried(lambda: s.bind((0, 0x41))), s.getsockname()[1])
line('groups taken back', tried(lambda: s.bind((0, 0x1))), s.getsockname()[1])
t = make()
line('a port id that is taken', tried(lambda: t.bind((own, 0))))
line('another port id', tried(lambda: t.bind((own + 77, 0))), t.getsockname()[0] == own + 77)
line('connect', tried(lambda: t.connect((0, 1))), t.getpeername())
line('connect elsewhere', tried(lambda: t.connect((own, 0))), t.getpeername() == (own, 0))
raw = make()
for length in (0, 2, 8, 11, 12, 16):
    address = struct.pack('=HHII', socket.AF_NETLINK, 0, 0, 0) + b'\0' * 8
    result = libc.bind(raw.fileno(), address, length)
    line('bind with', length, 'bytes', result, name(ctypes.get_errno()) if result else '')
result = libc.bind(raw.fileno(), struct.pack('=HHII', socket.AF_INET, 0, 0, 0), 12)
line('bind of another family', result, name(ctypes.get_errno()))
for length in (0, 4, 12, 40):
    room, size = ctypes.create_string_buffer(40), ctypes.c_int(length)
    result = libc.getsockname(raw.fileno(), room, ctypes.byref(size))
    line('getsockname with', length, 'bytes', result, size.value, room.raw[:2])
line('listen', tried(lambda: s.listen(1)))
line('shutdown', tried(lambda: s.shutdown(socket.SHUT_RDWR)))

# Options.
s = make()
for option in (1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 99):
    line('option', option, tried(lambda: s.getsockopt(SOL_NETLINK, option)))
for option in (3, 4, 5, 10, 11, 12, 99):
    set_ = tried(lambda: s.setsockopt(SOL_NETLINK, option, 1))
    line('option on', option, set_, tried(lambda: s.getsockopt(SOL_NETLINK, option)))
for group in (1, 33, 36, 40, 200, 0):
    line('join', group, tried(lambda: s.setsockopt(SOL_NETLINK, 1, group)))
line('joined', s.getsockname()[1], s.getsockopt(SOL_NETLINK, 9, 8).hex(), s.getsockname()[0])
for group in (1, 2, 200):
    line('leave', group, tried(lambda: s.setsockopt(SOL_NETLINK, 2, group)))
line('short option', tried(lambda: s.setsockopt(SOL_NETLINK, 11, b'\1')))
for option in (socket.SO_TYPE, socket.SO_DOMAIN, socket.SO_PROTOCOL, socket.SO_ERROR, socket.SO_ACCEPTCONN,
               socket.SO_RCVBUF, socket.SO_SNDBUF, socket.SO_PASSCRED, socket.SO_RCVLOWAT, socket.SO_PRIORITY):
    line('socket option', option, tried(lambda: s.getsockopt(socket.SOL_SOCKET, option)))
for size in (4096, 100, 1 << 20, 1 << 30):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
    line('buffers', size, s.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
         s.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF))
s.settimeout(None)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack('ll', 0, 50000))
line('time-out', s.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16).hex(), tried(lambda: s.recv(10)))
line('option of no level', tried(lambda: s.getsockopt(6, 1)))

# Requests and answers.
s = make()
line('send', s.send(GET_LO), s.getsockname()[0] != 0)
line('answer', headers(s.recv(65536)))
line('sender', s.send(GET_LO) and s.recvfrom(65536)[1])
line('peek', s.send(GET_LO) and headers(s.recv(65536, socket.MSG_PEEK)), headers(s.recv(65536)))
s.send(GET_LO)
whole = s.recvmsg(0, 0, socket.MSG_PEEK | socket.MSG_TRUNC)
line('peek without room', len(whole[0]), whole[2] == socket.MSG_TRUNC, whole[3])
cut = s.recvmsg(20, 100)
line('cut', len(cut[0]), cut[1], cut[2] == socket.MSG_TRUNC)
room = ctypes.create_string_buffer(20)
s.send(GET_LO)
length = len(s.recv(65536, socket.MSG_PEEK))
line('true length', libc.recv(s.fileno(), room, 20, socket.MSG_TRUNC) == length)
line('nothing is left', tried(lambda: s.recv(100, socket.MSG_DONTWAIT)))
s.send(GET_LO)
line('read', headers(os.read(s.fileno(), 65536)))
os.write(s.fileno(), GET_LO)
one, two = bytearray(16), bytearray(65536)
line('readv', os.readv(s.fileno(), [one, two]) == length, headers(bytes(one) + bytes(two))[0])
line('writev', os.writev(s.fileno(), [GET_LO[:10], GET_LO[10:]]), headers(s.recv(65536)))
line('sendmsg', s.sendmsg([GET_LO[:16], GET_LO[16:]], [], 0, (0, 0)), headers(s.recv(65536)))
line('sendto', s.sendto(GET_LO, (0, 0)), headers(s.recv(65536)))
line('two in one', s.send(GET_LO + GET_NONE), headers(s.recv(65536)), headers(s.recv(65536)))
line('an error', s.send(GET_NONE), struct.unpack_from('=i', s.recv(65536), 16))
line('nothing sent', tried(lambda: s.send(b'')), tried(lambda: s.recv(100, socket.MSG_DONTWAIT)))
line('a short message', tried(lambda: s.send(b'abc')), tried(lambda: s.recv(100, socket.MSG_DONTWAIT)))
s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
line('too long', tried(lambda: s.send(GET_LO + b'\0' * 100000)))
line('out of band', tried(lambda: s.send(GET_LO, socket.MSG_OOB)), tried(lambda: s.recv(10, socket.MSG_OOB)))
line('to another process', tried(lambda: s.sendto(GET_LO, (4242424, 0))))
line('bad pointer', libc.send(s.fileno(), 8, 16, 0), name(ctypes.get_errno()))
line('bad pointer for the answer', s.send(GET_LO), libc.recv(s.fileno(), 8, 16, 0), name(ctypes.get_errno()))
while tried(lambda: s.recv(65536, socket.MSG_DONTWAIT)) != 'EAGAIN':
    pass

line('at once', s.send(GET_LO), tried(lambda: headers(s.recv(65536, socket.MSG_DONTWAIT))))

# A change on one socket is there for another, though its acknowledgement was not read.
t, equal = make(), 0
for mtu in range(1300, 1400):
    index = socket.if_nametoindex('v0') if mtu == 1300 else index
    s.send(message(NEWLINK, REQUEST | ACK, struct.pack('=BxHiIIHHI', 0, 0, index, 0, 0, 8, 4, mtu)))
    t.send(message(GETLINK, REQUEST, struct.pack('=BxHiII', 0, 0, index, 0, 0)))
    equal += struct.pack('=HHI', 8, 4, mtu) in t.recv(65536)
    s.recv(65536)
line('changes seen by another socket', equal)

# Extended acks: only for who asks.
s = make()
# An address that is there, which the kernel refuses in words.
bad = message(20, REQUEST | ACK | 0x600, struct.pack('=BBBBI', 2, 24, 0, 0, socket.if_nametoindex('v0'))
              + struct.pack('=HH4sHH4s', 8, 2, b'\x0a\x01\0\x01', 8, 1, b'\x0a\x01\0\x01'))
s.send(bad)
line('without extended ack', len(s.recv(65536)))
s.setsockopt(SOL_NETLINK, 10, 1)
s.send(bad)
line('capped', len(s.recv(65536)))

s.setsockopt(SOL_NETLINK, 10, 0)
s.setsockopt(SOL_NETLINK, 11, 1)
s.send(bad)
line('with extended ack', len(s.recv(65536)))

# Dumps, of many parts.
s = make()
for n in range(0, 20000, 100):
    s.send(b''.join(message(24, REQUEST | 0x400, struct.pack('=BBBBBBBBIHHBBBB', 2, 32, 0, 0, 254, 4, 0, 6, 0, 8, 1,
                                                             172, 16, i >> 8, i & 255)) for i in range(n, n + 100)))
s.send(LINKS)
kinds = dump(s)
line('dump', kinds[0], kinds[-1], len(kinds) > 2)
for room in (8192, 4096):
    s = make()
    s.send(ROUTES)
    kinds = dump(s, room)
    line('dump with room', room, len(kinds), kinds[-1])
s.setblocking(False)
s.send(ROUTES)
line('dump without waiting', len(dump(s)), tried(lambda: s.recv(100)))
line('not blocking', fcntl.fcntl(s.fileno(), fcntl.F_GETFL) & os.O_NONBLOCK != 0)

# Readiness.
s = make()
s.bind((0, 0))
line('not ready', select.select([s], [], [], 0)[0], select.select([], [s], [], 0)[1] == [s])
s.send(LINKS)
line('ready at once', select.select([s], [], [], 0)[0] == [s])
dump(s)
line('not ready after', select.select([s], [], [], 0)[0])
level, edge = select.epoll(), select.epoll()
level.register(s.fileno(), select.EPOLLIN)
edge.register(s.fileno(), select.EPOLLIN | select.EPOLLET)
line('epoll, none', level.poll(0), edge.poll(0))
s.send(GET_LO)
line('epoll', [e for _, e in level.poll(1)], [e for _, e in edge.poll(1)])
line('epoll, again', [e for _, e in level.poll(0.01)], [e for _, e in edge.poll(0.01)])
s.recv(65536)
line('epoll, read', level.poll(0), edge.poll(0))
s.send(GET_LO)
line('epoll, next', [e for _, e in level.poll(1)], [e for _, e in edge.poll(1)])
s.recv(65536)
poll = select.poll()
poll.register(s.fileno(), select.POLLIN | select.POLLOUT)
line('poll', [e for _, e in poll.poll(0)])
line('FIONREAD', tried(lambda: fcntl.ioctl(s.fileno(), 0x541b, b'\0' * 4)))

# Control messages.
s = make()
s.setsockopt(SOL_NETLINK, 3, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
s.send(GET_LO)
data, control, flags, sender = s.recvmsg(65536, 200)
line('control', [(level, kind, data.hex() if level == SOL_NETLINK else len(data)) for level, kind, data in control], flags, sender)
s.send(GET_LO)
data, control, flags, sender = s.recvmsg(65536, 20)
line('control, cut', len(control), flags)

# Many messages in a call.
class Mmsg(ctypes.Structure):
    _fields_ = [('name', ctypes.c_void_p), ('namelen', ctypes.c_uint), ('iov', ctypes.c_void_p),
                ('iovlen', ctypes.c_size_t), ('control', ctypes.c_void_p), ('controllen', ctypes.c_size_t),
                ('flags', ctypes.c_int), ('len', ctypes.c_uint)]

def many(count, room):
    buffers = [ctypes.create_string_buffer(room) for _ in range(count)]
    iov = [(ctypes.c_void_p * 2)(ctypes.addressof(b), room) for b in buffers]
    messages = (Mmsg * count)()
    for m, i in zip(messages, iov):
        m.iov, m.iovlen = ctypes.addressof(i), 1
    return buffers, iov, messages

s = make()
buffers, iov, messages = many(3, 32)
for b in buffers:
    ctypes.memmove(b, GET_LO, 32)
line('sendmmsg', libc.sendmmsg(s.fileno(), messages, 3, 0), [m.len for m in messages])
buffers, iov, messages = many(5, 4096)
line('recvmmsg', libc.recvmmsg(s.fileno(), messages, 5, socket.MSG_DONTWAIT, None),
     [m.len > 16 for m in messages])
libc.sendmmsg(s.fileno(), many(2, 32)[2], 2, 0)
s.send(GET_LO)
line('recvmmsg, wait for one', libc.recvmmsg(s.fileno(), messages, 5, 0x10000, None))

# Copies of descriptors.
s = make()
s.send(GET_LO)
copy = os.dup(s.fileno())
line('dup', headers(os.read(copy, 65536)))
s.send(GET_LO)
other = fcntl.fcntl(s.fileno(), fcntl.F_DUPFD_CLOEXEC, 3)
line('F_DUPFD', headers(os.read(other, 65536)), fcntl.fcntl(other, fcntl.F_GETFD))
os.dup2(s.fileno(), 77)
t = socket.socket(fileno=77)
t.send(GET_LO)
line('dup2', t.family == socket.AF_NETLINK, headers(t.recv(65536)), t.getsockname() == s.getsockname())
s.close()
os.write(copy, GET_LO)
line('after close', headers(os.read(copy, 65536)))
a, b = socket.socketpair()
socket.send_fds(a, [b'x'], [copy])
passed = socket.socket(fileno=socket.recv_fds(b, 10, 1)[1][0])
passed.send(GET_LO)
line('passed by a socket', headers(passed.recv(65536)))
pid = os.fork()
if pid == 0:
    passed.send(GET_LO)
    line('in a child', headers(passed.recv(65536)))
    os._exit(0)
os.waitpid(pid, 0)
fresh = make()
line('inheritable', os.get_inheritable(passed.fileno()), os.get_inheritable(fresh.fileno()))

# Threads.
results = []
def work():
    s = make()
    for _ in range(20):
        s.send(GET_LO)
        results.append(headers(s.recv(65536))[0][0])
threads = [threading.Thread(target=work) for _ in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
line('threads', len(results), set(results))
s = make()
waiting = threading.Thread(target=lambda: results.append(headers(s.recv(65536))))
waiting.start()
time.sleep(0.05)
s.send(GET_LO)
waiting.join(5)
line('received by another thread', results[-1])
sockets = [make() for _ in range(40)]
for s in sockets:
    s.send(GET_LO)
line('forty sockets', len({s.getsockname()[0] for s in sockets}), {len(headers(s.recv(65536))) for s in sockets})
for s in sockets:
    s.close()

# Signals.
caught = []
signal.signal(signal.SIGALRM, lambda *_: caught.append(1))
s = make()
s.bind((0, 0))
signal.setitimer(signal.ITIMER_REAL, 0.05)
signal.siginterrupt(signal.SIGALRM, True)
room = ctypes.create_string_buffer(100)
result = ctypes.PyDLL(None, use_errno=True).recv(s.fileno(), room, 100, 0)
line('interrupted', result, name(ctypes.get_errno()))
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
good = 0
for i in range(300):
    s.send(GET_LO)
    good += headers(s.recv(65536)) == [(NEWLINK, 0, 7)]
signal.setitimer(signal.ITIMER_REAL, 0)
line('under a storm of signals', good)
line('time-out of Python', (s.settimeout(0.05), tried(lambda: s.recv(10)))[1])

# Interfaces by ioctl.
line('interfaces', sorted(socket.if_nameindex()), socket.if_nametoindex('lo'), socket.if_indextoname(1))
line('no interface', tried(lambda: socket.if_nametoindex('nosuch')), tried(lambda: socket.if_indextoname(9999)))
i = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ifreq = struct.pack('16s24x', b'v0')
for request in (0x8913, 0x8921, 0x8927, 0x8942):
    line('ioctl', hex(request), tried(lambda: fcntl.ioctl(i, request, ifreq)[16:32].hex()))

# Events.
s = make()
s.bind((0, 1))
t = make()
t.setsockopt(SOL_NETLINK, 1, 1)
up = message(NEWLINK, REQUEST | ACK, struct.pack('=BxHiIIHHI', 0, 0, socket.if_nametoindex('v0'), 0, 0, 8, 4, 1300))
u = make()
u.send(up)
line('change', struct.unpack_from('=i', u.recv(65536), 16))
data, sender = s.recvfrom(65536)
t.settimeout(0.2)
line('event', headers(data)[0][0], sender, tried(lambda: t.recv(65536)))
t.bind((0, 1))
u.send(up.replace(struct.pack('=I', 1300), struct.pack('=I', 1301)))
line('event for one that is bound', headers(t.recv(65536))[0][0])

# From one socket to another, which has not been used.
a, b = make(), make()
a.bind((0, 0))
b.bind((0, 0))
own, other = a.getsockname()[0], b.getsockname()[0]
line('to another socket', b.sendto(message(NEWLINK, 0, b'x' * 16), (own, 0)))
a.settimeout(5)
data, sender = a.recvfrom(100)
line('from another socket', len(data), sender == (other, 0))
c = make()
c.bind((0, 0))
c.settimeout(5)
b.connect((c.getsockname()[0], 0))
line('to the one of connect', b.send(message(NEWLINK, 0, b'x' * 32)), len(c.recv(100)))
