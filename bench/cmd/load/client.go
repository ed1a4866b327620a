package main

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"dmz-gateway/bench/internal/epoll"
	"dmz-gateway/bench/internal/traffic"
)

// errLater is what a read says when nothing has come. crypto/tls keeps its state over an error that calls
// itself temporary, and that is what lets one thread serve many TLS connections.
type errLater struct{}

func (errLater) Error() string   { return "nothing has come yet" }
func (errLater) Timeout() bool   { return false }
func (errLater) Temporary() bool { return true }

// socket is a net.Conn over a descriptor: blocking during the handshake, not blocking after it.
type socket struct{ fd int }

func (s *socket) Read(into []byte) (int, error) {
	n, errno := epoll.Read(s.fd, into)
	for errno == syscall.EINTR { // Go's scheduler signals its threads, and a read with a time-out is not restarted
		n, errno = epoll.Read(s.fd, into)
	}
	switch {
	case errno == syscall.EAGAIN:
		return 0, errLater{}
	case errno != 0:
		return 0, errno
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func (s *socket) Write(from []byte) (int, error) {
	for sent := 0; ; {
		n, errno := epoll.Write(s.fd, from[sent:])
		if errno == syscall.EAGAIN || errno == syscall.EINTR { // cannot last: one small request is out at a time
			continue
		}
		if errno != 0 {
			return sent, errno
		}
		if sent += n; sent == len(from) {
			return sent, nil
		}
	}
}

func (s *socket) Close() error                     { return syscall.Close(s.fd) }
func (s *socket) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *socket) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (s *socket) SetDeadline(time.Time) error      { return nil }
func (s *socket) SetReadDeadline(time.Time) error  { return nil }
func (s *socket) SetWriteDeadline(time.Time) error { return nil }

// client is one connection with at most one request unanswered.
type client struct {
	socket   *socket
	stream   net.Conn // the socket, or TLS over it
	request  traffic.Request
	due      time.Time // when the request was sent, or in paced mode when it should have been
	waiting  bool
	measured bool // the request belongs to the measured window
	dead     bool
	input    [512]byte
	filled   int
}

// dial connects and shakes hands; config nil means plain TCP.
func dial(address *net.TCPAddr, config *tls.Config) (*client, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	c := &client{socket: &socket{fd}}
	c.stream = c.socket
	patience := syscall.NsecToTimeval(int64(10 * time.Second))
	_ = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &patience)
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	to := &syscall.SockaddrInet4{Port: address.Port, Addr: [4]byte(address.IP.To4())}
	if err := syscall.Connect(fd, to); err != nil {
		_ = syscall.Close(fd)
		return nil, err
	}
	if config != nil {
		secured := tls.Client(c.socket, config)
		if err := secured.Handshake(); err != nil {
			_ = syscall.Close(fd)
			return nil, err
		}
		c.stream = secured
	}
	return c, syscall.SetNonblock(fd, true)
}

// send puts one request on the wire.
func (c *client) send(r traffic.Request, due time.Time) error {
	var buffer [12]byte
	c.request, c.due, c.waiting, c.filled = r, due, true, 0
	_, err := c.stream.Write(r.Encode(buffer[:]))
	return err
}

// receive gives the whole answer, or nil while some of it is missing.
func (c *client) receive() ([]byte, error) {
	for {
		n, err := c.stream.Read(c.input[c.filled:])
		c.filled += n
		if c.filled >= 6 {
			if length := traffic.Length(c.input[:]); c.filled == length {
				return c.input[:length], nil
			} else if c.filled > length {
				return nil, errors.New("more came than was asked for")
			}
		}
		if err != nil {
			var temporary net.Error
			if errors.As(err, &temporary) && temporary.Temporary() { //nolint:staticcheck // see errLater
				return nil, nil
			}
			return nil, err
		}
	}
}
