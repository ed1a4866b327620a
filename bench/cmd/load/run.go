package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"dmz-gateway/bench/internal/epoll"
	"dmz-gateway/bench/internal/traffic"
)

// sliceOf is how often requests and processor time are noted, so that a run with a policy reload in it also
// shows what the time between reloads costs.
const sliceOf = 500 * time.Millisecond

// patience is how long nothing at all may be answered while something was asked; it is longer than the
// gateway's own time-out for the plant in these runs.
const patience = 12 * time.Second

// mostLatencies bounds what is kept: a run at 100,000 requests a second for 100 seconds.
const mostLatencies = 10_000_000

type slice struct {
	Requests int     `json:"requests"`
	CPU      float64 `json:"cpu_s"`
}

// window is what was measured between the warm-up and the end.
type window struct {
	seconds   float64
	cpu       time.Duration
	latencies []time.Duration
	writes    []time.Duration
	slices    []slice
}

type run struct {
	poll     *epoll.Poll
	clients  map[int]*client
	idle     []*client
	mix      *traffic.Mix
	everyone int // how many requests "everything" has; asked first, once each
	asked    int
	interval time.Duration // paced mode; 0 is a closed loop
	subject  []int
	errors   map[string]int
	sample   string // of an error
	sent     struct{ reads, writes int }
	window   window
	counting bool
	stopped  bool
	answered time.Time // when the last answer came
}

// start puts the clients into the poll.
func (r *run) start(clients []*client) error {
	r.clients = map[int]*client{}
	for _, c := range clients {
		if err := r.poll.Add(c.socket.fd, syscall.EPOLLIN); err != nil {
			return err
		}
		r.clients[c.socket.fd] = c
		r.idle = append(r.idle, c)
	}
	return nil
}

// loop drives the clients until done says so. In a closed loop every client asks again as soon as it is
// answered; paced, requests are due at a fixed rate and latency counts from when one was due, whether or
// not a client was free for it.
func (r *run) loop(done func(now time.Time) bool) error {
	now := time.Now()
	due := now
	r.answered = now
	for !done(now) && len(r.clients) > 0 {
		wait := 20 * time.Millisecond
		for len(r.idle) > 0 && !r.stopped {
			if r.interval > 0 {
				if wait = min(wait, due.Sub(now)); due.After(now) {
					break
				}
			}
			c := r.idle[len(r.idle)-1]
			r.idle = r.idle[:len(r.idle)-1]
			if r.interval > 0 {
				r.ask(c, due)
				due = due.Add(r.interval)
			} else {
				r.ask(c, now)
			}
		}
		events, err := r.poll.Wait(max(wait, 0))
		if err != nil {
			return err
		}
		for _, event := range events {
			if c := r.clients[int(event.Fd)]; c != nil {
				r.ready(c)
			}
		}
		now = time.Now()
		if r.unanswered() > 0 && now.Sub(r.answered) > patience {
			return fmt.Errorf("%d requests and no answer for %v", r.unanswered(), patience)
		}
	}
	return nil
}

func (r *run) ask(c *client, due time.Time) {
	var request traffic.Request
	if r.asked < r.everyone {
		request = r.mix.Everything(r.asked)
		r.asked++
	} else {
		request = r.mix.Next()
	}
	if request.Write() {
		r.sent.writes++
	} else {
		r.sent.reads++
	}
	c.measured = r.counting
	if err := c.send(request, due); err != nil {
		r.lose(c, err)
	}
}

func (r *run) ready(c *client) {
	answer, err := c.receive()
	if err != nil {
		r.lose(c, err)
		return
	}
	if answer == nil {
		return
	}
	now := time.Now()
	if !c.waiting {
		r.lose(c, errors.New("an answer that nobody asked for"))
		return
	}
	c.waiting = false
	r.answered = now
	if verdict := traffic.Judge(c.request, answer); verdict != "" {
		r.fail(verdict)
	} else if r.counting && c.measured && len(r.window.latencies) < mostLatencies {
		r.window.latencies = append(r.window.latencies, now.Sub(c.due))
		if c.request.Write() {
			r.window.writes = append(r.window.writes, now.Sub(c.due))
		}
	}
	if r.interval == 0 && !r.stopped {
		r.ask(c, now)
	} else {
		r.idle = append(r.idle, c)
	}
}

func (r *run) fail(what string) {
	kind, _, _ := strings.Cut(what, ":")
	r.errors[kind]++
	if r.sample == "" {
		r.sample = what
	}
}

func (r *run) lose(c *client, err error) {
	if c.dead {
		return
	}
	c.dead = true
	r.fail("closed: " + err.Error())
	delete(r.clients, c.socket.fd)
	r.idle = slices.DeleteFunc(r.idle, func(other *client) bool { return other == c })
	_ = c.socket.Close()
}

// warm asks everything once, then goes on for a while.
func (r *run) warm(connections, assets int, interval, warmup time.Duration) error {
	r.everyone = assets * traffic.Ranges
	if err := r.loop(func(time.Time) bool { return r.asked >= r.everyone }); err != nil {
		return err
	}
	r.interval = interval
	until := time.Now().Add(warmup)
	if err := r.loop(func(now time.Time) bool { return now.After(until) }); err != nil {
		return err
	}
	if len(r.clients) < connections {
		return fmt.Errorf("%d of %d connections were lost while warming up: %s",
			connections-len(r.clients), connections, r.sample)
	}
	return nil
}

// measure fills the window, then waits for what is unanswered so that the plant's own count can be compared.
func (r *run) measure(length time.Duration) error {
	r.window.latencies = make([]time.Duration, 0, min(mostLatencies, int(length.Seconds()*60_000)))
	cpu, err := processorTime(r.subject)
	if err != nil {
		return err
	}
	begun := time.Now()
	r.counting = true
	next, last, lastCPU := begun.Add(sliceOf), 0, cpu
	err = r.loop(func(now time.Time) bool {
		if now.After(next) {
			next = next.Add(sliceOf)
			if used, err := processorTime(r.subject); err == nil {
				done := len(r.window.latencies)
				r.window.slices = append(r.window.slices, slice{done - last, (used - lastCPU).Seconds()})
				last, lastCPU = done, used
			}
		}
		return now.Sub(begun) >= length
	})
	r.window.seconds = time.Since(begun).Seconds()
	r.counting, r.stopped = false, true
	if err != nil {
		return err
	}
	end, err := processorTime(r.subject)
	if err != nil {
		return err
	}
	r.window.cpu = end - cpu
	until := time.Now().Add(patience)
	return r.loop(func(now time.Time) bool { return r.unanswered() == 0 || now.After(until) })
}

// unanswered is how many clients still wait.
func (r *run) unanswered() int { return len(r.clients) - len(r.idle) }
