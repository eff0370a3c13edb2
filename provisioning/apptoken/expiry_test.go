package apptoken

import (
	"testing"
	"time"

	"github.com/keywright/keywright"
)

// What a caller may have at most, as those who come by password, bounds all of it.
func TestDecide(t *testing.T) {
	const hour = time.Hour
	for _, tt := range []struct {
		name   string
		policy Policy
		asked  lifetime
		most   time.Duration
		want   time.Duration // -1: an error; 0: never
	}{
		{"the default", Policy{Default: 2 * hour}, lifetime{}, 0, 2 * hour},
		{"the default, capped", Policy{Default: 2 * hour}, lifetime{}, hour, hour},
		{"at the cap", Policy{}, lifetime{d: hour}, hour, hour},
		{"over the cap", Policy{}, lifetime{d: hour + time.Second}, hour, -1},
		{"over the cap, clamped", Policy{Clamp: true}, lifetime{d: 2 * hour}, hour, hour},
		{"a cap above the maximum", Policy{Max: hour, Default: hour}, lifetime{d: 2 * hour}, 3 * hour, -1},
		{"never", Policy{AllowNever: true}, lifetime{never: true}, 0, 0},
		{"never, not allowed", Policy{}, lifetime{never: true}, 0, -1},
		{"never, with a cap", Policy{AllowNever: true}, lifetime{never: true}, hour, -1},
		{"never and a time", Policy{AllowNever: true}, lifetime{d: hour, never: true}, 0, -1},
		{"less than a second", Policy{}, lifetime{d: time.Millisecond}, 0, -1},
		{"less than nothing", Policy{}, lifetime{d: -hour}, 0, -1},
		{"part of a second", Policy{}, lifetime{d: 1500 * time.Millisecond}, 0, time.Second},
	} {
		if err := tt.policy.setDefaults(); err != nil {
			t.Fatal(err)
		}
		got, err := tt.policy.decide(tt.asked, tt.most)
		switch {
		case tt.want < 0 && (err == nil || keywright.AsError(err).Code != keywright.CodeInvalidRequest):
			t.Errorf("%s: got %v, %v, want an error", tt.name, got, err)
		case tt.want >= 0 && (err != nil || got != tt.want):
			t.Errorf("%s: got %v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
}
