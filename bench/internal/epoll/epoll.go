// Package epoll is a thin layer over Linux epoll. The plant and the load generator share one core and must
// together be cheaper than the subject, or the subject's core would never be full; a goroutine and two
// scheduler hops per request would cost more than HAProxy does.
package epoll

import (
	"syscall"
	"time"
	"unsafe"
)

// Batch is how many events one wait gives at most.
const Batch = 256

// pwait2 is epoll_pwait2(2), which waits in nanoseconds; the number is the same on all architectures.
const pwait2 = 441

// Poll is one epoll instance.
type Poll struct {
	fd     int
	events [Batch]syscall.EpollEvent
}

// New makes one.
func New() (*Poll, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	return &Poll{fd: fd}, err
}

// Add watches a descriptor for those events, level-triggered.
func (p *Poll) Add(fd int, events uint32) error {
	return syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: events, Fd: int32(fd)})
}

// Change watches it for other events.
func (p *Poll) Change(fd int, events uint32) error {
	return syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_MOD, fd, &syscall.EpollEvent{Events: events, Fd: int32(fd)})
}

// Wait gives what is ready; no longer than timeout, for ever if it is negative.
func (p *Poll) Wait(timeout time.Duration) ([]syscall.EpollEvent, error) {
	spec := syscall.NsecToTimespec(int64(max(timeout, 0)))
	until := unsafe.Pointer(&spec)
	if timeout < 0 {
		until = nil
	}
	n, _, errno := syscall.Syscall6(
		pwait2, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events)), Batch, uintptr(until), 0, 0)
	if errno == syscall.EINTR {
		return nil, nil
	}
	if errno != 0 {
		return nil, errno
	}
	return p.events[:n], nil
}

// Read reads from a non-blocking descriptor. It never blocks, so the Go scheduler need not know.
func Read(fd int, into []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(
		syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(into))), uintptr(len(into)))
	return int(n), errno
}

// Write writes to a non-blocking descriptor.
func Write(fd int, from []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(
		syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(from))), uintptr(len(from)))
	return int(n), errno
}
