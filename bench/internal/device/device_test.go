package device

import (
	"bytes"
	"testing"
)

func adu(unit byte, pdu ...byte) []byte {
	return append([]byte{0x12, 0x34, 0, 0, 0, byte(len(pdu) + 1), unit}, pdu...)
}

func TestAnswers(t *testing.T) {
	high, low := byte(Word(9, Input, 300)>>8), byte(Word(9, Input, 300))
	cases := []struct {
		name    string
		request []byte
		answer  []byte
	}{
		{"read input", adu(9, 4, 1, 0x2C, 0, 1), adu(9, 4, 2, high, low)},
		{"write register", adu(9, 6, 0, 0, 0xAB, 0xCD), adu(9, 6, 0, 0, 0xAB, 0xCD)},
		{"the write stayed", adu(9, 3, 0, 0, 0, 1), adu(9, 3, 2, 0xAB, 0xCD)},
		{"write registers", adu(9, 16, 0, 5, 0, 2, 4, 1, 2, 3, 4), adu(9, 16, 0, 5, 0, 2)},
		{"they stayed", adu(9, 3, 0, 5, 0, 2), adu(9, 3, 4, 1, 2, 3, 4)},
		{"write coils", adu(9, 15, 0, 0, 0, 10, 2, 0x55, 1), adu(9, 15, 0, 0, 0, 10)},
		{"they stayed", adu(9, 1, 0, 0, 0, 10), adu(9, 1, 2, 0x55, 1)},
		{"write coil", adu(9, 5, 0, 0, 0, 0), adu(9, 5, 0, 0, 0, 0)},
		{"it stayed", adu(9, 1, 0, 0, 0, 3), adu(9, 1, 1, 4)},
		{"unknown function", adu(9, 43, 14, 1, 0), adu(9, 0xAB, 1)},
		{"too many", adu(9, 3, 0, 0, 0, 126), adu(9, 0x83, 3)},
		{"too far", adu(9, 3, 0x27, 0x0F, 0, 2), adu(9, 0x83, 2)},
		{"short", adu(9, 3, 0), adu(9, 0x83, 3)},
		{"odd coil value", adu(9, 5, 0, 0, 0, 1), adu(9, 0x85, 3)},
	}
	d := New()
	for _, c := range cases {
		if got := d.Answer(nil, c.request); !bytes.Equal(got, c.answer) {
			t.Errorf("%s: got % x, want % x", c.name, got, c.answer)
		}
	}
	if d.Functions[6] != 1 || d.Refused != 5 {
		t.Errorf("counted %d writes of one register and %d refusals", d.Functions[6], d.Refused)
	}
}
