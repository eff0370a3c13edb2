package ldapuser

import "time"

// Constants that tests count with.
const (
	MaxChecks         = maxChecks
	MaxStartTLSAnswer = maxStartTLSAnswer
	Pace              = pace
)

// SetPace changes the step in which refusals are answered.
func (v *Verifier) SetPace(d time.Duration) { v.pace = d }
