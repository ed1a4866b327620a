// Package traffic is what the benchmark's clients ask, and how they judge what they get.
//
// The load is mixed: every asset is read in Ranges places of all four tables, in random order, so that no
// decision and no answer is the one hot key of a cache. Every answer is checked whole: transaction id, unit,
// length, function, and each value that only the plant decides.
package traffic

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"dmz-gateway/bench/internal/device"
)

const (
	// Ranges is how many places of each asset are read.
	Ranges = 50
	// Stride is the distance between two ranges of one table.
	Stride = 16
	// Words is how many registers a read asks for.
	Words = 10
	// Bits is how many coils or discrete inputs a read asks for.
	Bits = 16
	// Setpoint is the one register that may be written; what it holds is not checked on reads.
	Setpoint = 0
)

// tables spreads the ranges: of ten, six read holding registers, two input registers, one coils and one
// discrete inputs.
var tables = [10]device.Table{
	device.Holding, device.Holding, device.Holding, device.Holding, device.Holding, device.Holding,
	device.Input, device.Input, device.Coil, device.Discrete,
}

// Request is one question, small enough to keep with the connection until the answer comes.
type Request struct {
	Transaction uint16
	Unit        byte
	Function    byte
	Address     uint16
	Count       uint16 // or, for a write, the value
}

// Write says whether it changes the plant.
func (r Request) Write() bool { return r.Function == 6 }

// Encode puts the ADU into a buffer of at least 12 bytes.
func (r Request) Encode(into []byte) []byte {
	adu := into[:12]
	binary.BigEndian.PutUint16(adu, r.Transaction)
	adu[2], adu[3], adu[4], adu[5], adu[6], adu[7] = 0, 0, 0, 6, r.Unit, r.Function
	binary.BigEndian.PutUint16(adu[8:], r.Address)
	binary.BigEndian.PutUint16(adu[10:], r.Count)
	return adu
}

// Mix makes requests.
type Mix struct {
	assets int
	writes float64
	dice   *rand.Rand
	next   uint16
}

// NewMix asks units 1 to assets; writes is the share of writes among the requests.
func NewMix(assets int, writes float64, seed uint64) *Mix {
	return &Mix{assets: assets, writes: writes, dice: rand.New(rand.NewPCG(seed, 0))}
}

// Everything gives each range of each asset once: what warms a cache.
func (m *Mix) Everything(i int) Request {
	m.next++
	return read(m.next, byte(i%m.assets+1), i/m.assets%Ranges)
}

// Next gives a random request.
func (m *Mix) Next() Request {
	m.next++
	unit := byte(m.dice.IntN(m.assets) + 1)
	if m.writes > 0 && m.dice.Float64() < m.writes {
		return Request{m.next, unit, 6, Setpoint, uint16(m.dice.Uint32())}
	}
	return read(m.next, unit, m.dice.IntN(Ranges))
}

func read(transaction uint16, unit byte, place int) Request {
	table := tables[place%len(tables)]
	count := uint16(Words)
	if table == device.Coil || table == device.Discrete {
		count = Bits
	}
	return Request{transaction, unit, byte(table), uint16(place * Stride), count}
}

// Length is how long the ADU is that begins with these at least 6 bytes.
func Length(header []byte) int { return int(binary.BigEndian.Uint16(header[4:])) + 6 }

// Judge says what is wrong with an answer ADU: "" for nothing, "exception_xx", or "wrong: ...".
func Judge(r Request, adu []byte) string {
	if len(adu) < 9 || binary.BigEndian.Uint16(adu) != r.Transaction || adu[2]|adu[3] != 0 || adu[6] != r.Unit {
		return fmt.Sprintf("wrong: header % x to %+v", adu[:min(len(adu), 9)], r)
	}
	pdu := adu[7:]
	if pdu[0] == r.Function|0x80 && len(pdu) == 2 {
		return fmt.Sprintf("exception_%02x", pdu[1])
	}
	if pdu[0] != r.Function {
		return fmt.Sprintf("wrong: function %d to %+v", pdu[0], r)
	}
	right := false
	switch r.Function {
	case 6:
		right = len(pdu) == 5 && binary.BigEndian.Uint16(pdu[1:]) == r.Address &&
			binary.BigEndian.Uint16(pdu[3:]) == r.Count
	case 1, 2:
		right = len(pdu) == 2+Bits/8 && pdu[1] == Bits/8 && bitsRight(r, pdu[2:])
	case 3, 4:
		right = len(pdu) == 2+2*Words && pdu[1] == 2*Words && wordsRight(r, pdu[2:])
	}
	if !right {
		return fmt.Sprintf("wrong: answer % x to %+v", pdu, r)
	}
	return ""
}

func wordsRight(r Request, data []byte) bool {
	for i := range uint16(Words) {
		address := r.Address + i
		if r.Function == byte(device.Holding) && address == Setpoint {
			continue
		}
		if binary.BigEndian.Uint16(data[2*i:]) != device.Word(r.Unit, device.Table(r.Function), address) {
			return false
		}
	}
	return true
}

func bitsRight(r Request, data []byte) bool {
	for i := range uint16(Bits) {
		if data[i/8]>>(i&7)&1 != device.Bit(r.Unit, device.Table(r.Function), r.Address+i) {
			return false
		}
	}
	return true
}
