package traffic

import (
	"strings"
	"testing"

	"dmz-gateway/bench/internal/device"
)

func TestThePlantAnswersTheMixAndNothingWrongPasses(t *testing.T) {
	plant := device.New()
	mix := NewMix(200, 0.1, 1)
	writes := 0
	for range 5000 {
		r := mix.Next()
		if r.Write() {
			writes++
		}
		good := plant.Answer(nil, r.Encode(make([]byte, 12)))
		if verdict := Judge(r, good); verdict != "" {
			t.Fatalf("%+v: %s", r, verdict)
		}
		for i := range good {
			if i == 4 || i == 5 { // the length field has framed the answer before it is judged
				continue
			}
			bad := append([]byte(nil), good...)
			bad[i] ^= 0x10
			unchecked := r.Function == 3 && r.Address == Setpoint && (i == 9 || i == 10)
			if verdict := Judge(r, bad); (verdict == "") != unchecked {
				t.Fatalf("%+v: byte %d changed: %q", r, i, verdict)
			}
		}
		if Judge(r, good[:len(good)-1]) == "" || Judge(r, append(good, 0)) == "" {
			t.Fatalf("%+v: a wrong length passed", r)
		}
	}
	if writes < 400 || writes > 600 {
		t.Errorf("%d writes of 5000 at 10 %%", writes)
	}
}

func TestAnExceptionIsNamed(t *testing.T) {
	r := Request{7, 1, 3, 0, Words}
	if verdict := Judge(r, []byte{0, 7, 0, 0, 0, 3, 1, 0x83, 6}); verdict != "exception_06" {
		t.Error(verdict)
	}
	if verdict := Judge(r, []byte{0, 7, 0, 0, 0, 3, 1, 0x84, 6}); !strings.HasPrefix(verdict, "wrong") {
		t.Error(verdict)
	}
}

func TestEverythingNamesEachRangeOfEachAssetOnce(t *testing.T) {
	mix := NewMix(3, 0, 1)
	seen := map[[3]uint16]bool{}
	for i := range 3 * Ranges {
		r := mix.Everything(i)
		seen[[3]uint16{uint16(r.Unit), uint16(r.Function), r.Address}] = true
	}
	if len(seen) != 3*Ranges {
		t.Errorf("%d distinct reads", len(seen))
	}
}
