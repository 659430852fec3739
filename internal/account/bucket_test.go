package account

import (
	"errors"
	"slices"
	"testing"

	"github.com/starling-swarm/starling/internal/fault"
)

func TestBuckets(t *testing.T) {
	want := []int{1536, 2048, 2560, 3072, 3584, 4096, 5120, 6144, 7168, 8192, 10240, 12288, 14336, 16384,
		20480, 24576, 28672, 32768, 40960, 49152, 57344, 65536, 81920, 98304}
	var got []int
	for n := 0; n <= MaxBlob; {
		b, err := bucket(n, minBlob)
		if err != nil || b < n {
			t.Fatalf("bucket of %d bytes: got %d, %v", n, b, err)
		}
		got = append(got, b)
		n = b + 1
	}
	if !slices.Equal(got, want) {
		t.Errorf("buckets: got %v, want %v", got, want)
	}
	if _, err := bucket(MaxBlob+1, minBlob); !errors.Is(err, fault.Invalid) {
		t.Errorf("past the largest: got %v, want Invalid", err)
	}
	if b, _ := bucket(10, minCopy); b != 1024 {
		t.Errorf("smallest copy: got %d, want 1024", b)
	}
}

func TestErasureRule(t *testing.T) {
	const day, hour = uint32(20_000), int64(3_600_000)
	end := int64(day)*86_400_000 - 900_000 + 48*hour // of the record's validity
	for _, c := range []struct {
		name     string
		t, acked int64
		want     bool
	}{
		{"within validity, all have it", end - 1, end - 1, false},
		{"at the hour, all have it", end + hour, end + hour, false},
		{"past the hour, all have it", end + hour + 1, end + hour + 1, true},
		{"past the hour, one has not", end + hour + 1, end + hour, false},
		{"past the hour, unknown", end + hour + 1, 0, false},
		{"15 days on, unknown", end + 15*24*hour, 0, false},
		{"past 15 days, unknown", end + 15*24*hour + 1, 0, true},
	} {
		if got := MayErase(day, c.t, c.acked); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}
