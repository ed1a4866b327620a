// Package device is the plant that the benchmark reads and writes: 256 units, each with four tables whose
// values are a function of unit, table and address, so that whoever asks can check every answer.
//
// Rules that hold here: requests are answered as the Modbus Application Protocol V1.1b3 says (functions
// 1-6, 15, 16; the rest exception 01; quantities beyond the limits 03; addresses beyond Space 02), writes
// count and stay, and memory is constant whatever is asked.
package device

import "encoding/binary"

// Space is how many addresses each table has; beyond it exception 02.
const Space = 10_000

// MostAnswer is the longest ADU (Messaging on TCP/IP V1.0b §3.1.3).
const MostAnswer = 260

// Table is one of the four of the data model (V1.1b3 §4.3), numbered by the function that reads it.
type Table byte

// The four tables.
const (
	Coil     Table = 1
	Discrete Table = 2
	Holding  Table = 3
	Input    Table = 4
)

// Word is what a register holds until somebody writes it.
func Word(unit byte, table Table, address uint16) uint16 {
	return uint16(unit)*257 ^ uint16(table)*4099 ^ address*31
}

// Bit is what a coil or discrete input holds until somebody writes it.
func Bit(unit byte, table Table, address uint16) byte {
	return byte(Word(unit, table, address)>>3) & 1
}

// Device holds the tables that can be written; the others are computed.
type Device struct {
	holding [256][Space]uint16
	coils   [256][Space]byte
	// Functions counts the requests that were carried out, by function code.
	Functions [256]uint64
	// Refused counts the requests answered with an exception.
	Refused uint64
}

// New makes a device with every point at its starting value.
func New() *Device {
	d := &Device{}
	for unit := range 256 {
		for address := range Space {
			d.holding[unit][address] = Word(byte(unit), Holding, uint16(address))
			d.coils[unit][address] = Bit(byte(unit), Coil, uint16(address))
		}
	}
	return d
}

// Answer appends the answer ADU to a whole request ADU (MBAP header and at least one byte of PDU).
func (d *Device) Answer(out []byte, adu []byte) []byte {
	start := len(out)
	out = append(out, adu[:7]...)
	out, exception := d.execute(out, adu[6], adu[7:])
	if exception != 0 {
		d.Refused++
		out = append(out[:start+7], adu[7]|0x80, exception)
	} else {
		d.Functions[adu[7]]++
	}
	binary.BigEndian.PutUint16(out[start+4:], uint16(len(out)-start-6))
	return out
}

// execute appends the answer PDU, or gives the exception code.
func (d *Device) execute(out []byte, unit byte, pdu []byte) ([]byte, byte) {
	fc := pdu[0]
	if fc == 0 || fc > 16 || (fc > 6 && fc < 15) {
		return out, 1
	}
	if len(pdu) < 5 {
		return out, 3
	}
	address, word := binary.BigEndian.Uint16(pdu[1:]), binary.BigEndian.Uint16(pdu[3:])
	switch fc {
	case 1, 2, 3, 4:
		return d.read(out, unit, Table(fc), address, word, len(pdu))
	case 5, 6:
		return d.writeOne(out, unit, pdu, address, word)
	default:
		return d.writeMany(out, unit, pdu, address, word)
	}
}

func (d *Device) read(out []byte, unit byte, table Table, first, count uint16, length int) ([]byte, byte) {
	most := uint16(125)
	if table == Coil || table == Discrete {
		most = 2000
	}
	if length != 5 || count == 0 || count > most {
		return out, 3
	}
	if int(first)+int(count) > Space {
		return out, 2
	}
	if table == Coil || table == Discrete {
		return d.readBits(out, unit, table, first, count), 0
	}
	out = append(out, byte(table), byte(2*count))
	for address := first; address < first+count; address++ {
		if table == Holding {
			out = binary.BigEndian.AppendUint16(out, d.holding[unit][address])
		} else {
			out = binary.BigEndian.AppendUint16(out, Word(unit, Input, address))
		}
	}
	return out, 0
}

func (d *Device) readBits(out []byte, unit byte, table Table, first, count uint16) []byte {
	out = append(out, byte(table), byte((count+7)/8))
	var packed byte
	for i := range count {
		bit := Bit(unit, Discrete, first+i)
		if table == Coil {
			bit = d.coils[unit][first+i]
		}
		packed |= bit << (i & 7)
		if i&7 == 7 || i == count-1 {
			out = append(out, packed)
			packed = 0
		}
	}
	return out
}

func (d *Device) writeOne(out []byte, unit byte, pdu []byte, address, word uint16) ([]byte, byte) {
	if len(pdu) != 5 || (pdu[0] == 5 && word != 0 && word != 0xFF00) {
		return out, 3
	}
	if address >= Space {
		return out, 2
	}
	if pdu[0] == 5 {
		d.coils[unit][address] = byte(word >> 15)
	} else {
		d.holding[unit][address] = word
	}
	return append(out, pdu...), 0
}

func (d *Device) writeMany(out []byte, unit byte, pdu []byte, first, count uint16) ([]byte, byte) {
	most, bytes := uint16(123), 2*int(count)
	if pdu[0] == 15 {
		most, bytes = 1968, (int(count)+7)/8
	}
	if count == 0 || count > most || len(pdu) != 6+bytes || int(pdu[5]) != bytes {
		return out, 3
	}
	if int(first)+int(count) > Space {
		return out, 2
	}
	for i := range count {
		if pdu[0] == 15 {
			d.coils[unit][first+i] = pdu[6+i/8] >> (i & 7) & 1
		} else {
			d.holding[unit][first+i] = binary.BigEndian.Uint16(pdu[6+2*i:])
		}
	}
	return append(out, pdu[:5]...), 0
}
