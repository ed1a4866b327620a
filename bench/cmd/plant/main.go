// Command plant is a fast Modbus/TCP server on loopback: every unit number is a device of its own, many
// connections, pipelined requests. It prints {"port": n} when it listens, and what it has carried out when
// it is told to stop (SIGTERM), so that the harness can compare that with what the load generator sent.
package main

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"dmz-gateway/bench/internal/device"
	"dmz-gateway/bench/internal/epoll"
)

// mostInput and mostOutput bound the memory of one connection; a peer that does not read its answers is not
// read from until it does.
const (
	mostInput  = 8 * 1024
	mostOutput = 64 * 1024
)

// mostConnections is how many descriptors can be served.
const mostConnections = 4096

type connection struct {
	input   [mostInput]byte
	filled  int
	unsent  []byte
	waiting bool
}

type server struct {
	poll        *epoll.Poll
	listening   int
	device      *device.Device
	connections [mostConnections]*connection
	output      []byte
}

func main() {
	port := flag.Int("port", 0, "port on 127.0.0.1; 0 takes a free one")
	flag.Parse()
	listening, chosen, err := listen(*port)
	if err != nil {
		log.Fatalf("plant: listen: %v", err)
	}
	poll, err := epoll.New()
	if err == nil {
		err = poll.Add(listening, syscall.EPOLLIN)
	}
	if err != nil {
		log.Fatalf("plant: epoll: %v", err)
	}
	s := &server{poll: poll, listening: listening, device: device.New(), output: make([]byte, 0, mostOutput)}
	var stop atomic.Bool
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	wake := [2]int{}
	if err := syscall.Pipe(wake[:]); err != nil {
		log.Fatalf("plant: pipe: %v", err)
	}
	if err := poll.Add(wake[0], syscall.EPOLLIN); err != nil {
		log.Fatalf("plant: epoll: %v", err)
	}
	go func() {
		<-signals
		stop.Store(true)
		_, _ = syscall.Write(wake[1], []byte{1})
	}()
	fmt.Printf("{\"port\": %d}\n", chosen)
	for !stop.Load() {
		events, err := poll.Wait(-1)
		if err != nil {
			log.Fatalf("plant: epoll: %v", err)
		}
		for _, event := range events {
			s.ready(int(event.Fd))
		}
	}
	d := s.device
	summary := map[string]uint64{
		"reads":   d.Functions[1] + d.Functions[2] + d.Functions[3] + d.Functions[4],
		"writes":  d.Functions[5] + d.Functions[6] + d.Functions[15] + d.Functions[16],
		"refused": d.Refused,
	}
	if err := json.NewEncoder(os.Stdout).Encode(summary); err != nil {
		log.Fatalf("plant: %v", err)
	}
}

func listen(port int) (fd int, chosen int, err error) {
	fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, err
	}
	if err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return 0, 0, err
	}
	if err = syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, 0, err
	}
	if err = syscall.Listen(fd, 1024); err != nil {
		return 0, 0, err
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		return 0, 0, err
	}
	return fd, name.(*syscall.SockaddrInet4).Port, nil
}

func (s *server) ready(fd int) {
	if fd == s.listening {
		s.accept()
		return
	}
	c := s.connections[min(fd, mostConnections-1)]
	if c == nil {
		return
	}
	if c.waiting && !s.flush(fd, c) {
		return
	}
	if !s.serve(fd, c) {
		s.close(fd)
	}
}

func (s *server) accept() {
	for {
		fd, _, err := syscall.Accept4(s.listening, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		if fd >= mostConnections || s.poll.Add(fd, syscall.EPOLLIN) != nil {
			_ = syscall.Close(fd)
			continue
		}
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
		s.connections[fd] = &connection{}
	}
}

func (s *server) close(fd int) {
	s.connections[fd] = nil
	_ = syscall.Close(fd)
}

// serve reads once and answers every whole request; false ends the connection.
func (s *server) serve(fd int, c *connection) bool {
	if c.filled < mostInput { // full only behind a peer that did not read its answers
		n, errno := epoll.Read(fd, c.input[c.filled:])
		if errno == syscall.EAGAIN {
			n = 0
		} else if errno != 0 || n == 0 {
			return false
		}
		c.filled += n
	}
	used := 0
	for {
		s.output = s.output[:0]
		for len(s.output)+device.MostAnswer <= mostOutput && c.filled-used >= 8 {
			adu := c.input[used:c.filled]
			length := int(binary.BigEndian.Uint16(adu[4:])) + 6
			if adu[2]|adu[3] != 0 || length < 8 || length > device.MostAnswer {
				return false
			}
			if len(adu) < length {
				break
			}
			s.output = s.device.Answer(s.output, adu[:length])
			used += length
		}
		if len(s.output) == 0 {
			break
		}
		sent, errno := epoll.Write(fd, s.output)
		if errno == syscall.EAGAIN {
			sent = 0
		} else if errno != 0 {
			return false
		}
		if sent < len(s.output) {
			c.unsent = append([]byte(nil), s.output[sent:]...)
			c.waiting = true
			if s.poll.Change(fd, syscall.EPOLLOUT) != nil {
				return false
			}
			break
		}
	}
	c.filled = copy(c.input[:], c.input[used:c.filled])
	return true
}

// flush sends what is left from before; true once the connection may be read from again.
func (s *server) flush(fd int, c *connection) bool {
	sent, errno := epoll.Write(fd, c.unsent)
	if errno != 0 {
		if errno != syscall.EAGAIN {
			s.close(fd)
		}
		return false
	}
	c.unsent = c.unsent[sent:]
	if len(c.unsent) > 0 {
		return false
	}
	c.unsent, c.waiting = nil, false
	return s.poll.Change(fd, syscall.EPOLLIN) == nil
}
