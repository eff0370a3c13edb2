package provisioning

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/keywright/keywright"
)

// A Binding says what it counts for that a runner's key is used on another
// machine than the one that was enrolled, as its X-Runner-MAC and
// X-Runner-Machine-ID (or X-Agent-…) headers tell. It is a seat belt and no
// proof: whoever has the key can send the headers too.
type Binding int

// The bindings. Zero is off.
const (
	BindOff  Binding = iota
	BindWarn         // let in, with an event "provisioning.other_machine"
	Bind             // refuse, and enrol only runners that send both
)

// Authenticator admits runners by their API keys, for the host's own routes.
// The Principal's Subject is the runner's id; Attrs has runner, runner_name,
// provisioned_by and, if it has any, tags.
func (h *Handler) Authenticator() keywright.Authenticator {
	return runnerKeys{bearer{h, RunnerKind, textBadRun}}
}

type runnerKeys struct{ bearer }

func (a runnerKeys) Authenticate(r *http.Request) (keywright.Principal, error) {
	p, err := a.bearer.Authenticate(r)
	if err != nil || a.h.binding == BindOff {
		return p, err
	}
	runner, err := a.h.loadRunner(r.Context(), p.Subject)
	if err != nil {
		if keywright.AsError(err).Code == keywright.CodeNotFound {
			err = unauthorized(textBadRun, err) // deleted since it was authenticated
		}
		return keywright.Principal{}, err
	}
	if err := runner.isOn(r.Header); err != nil {
		ctx := keywright.WithRequestAddr(r)
		a.h.host.Hooks.Audit(ctx, keywright.Event{
			Time: a.h.host.Hooks.Now(), Name: "provisioning.other_machine", Actor: p.Credential, Target: p.Subject,
			Remote: keywright.RemoteAddr(ctx), Detail: err.Error(),
		})
		if a.h.binding == Bind {
			return keywright.Principal{}, a.h.failed(ctx, unauthorized(textBadRun, err))
		}
	}
	return p, nil
}

// isOn compares what a request says of its machine with what was enrolled.
func (r storedRunner) isOn(h http.Header) error {
	mac, err := either(h, MACHeader, agentMACHeader)
	if err != nil {
		return err
	}
	machine, err := either(h, MachineHeader, agentMachine)
	switch {
	case err != nil:
		return err
	case r.MAC == "" || normalMAC(mac) != normalMAC(r.MAC):
		return fmt.Errorf("runner %s comes with another MAC address", r.ID)
	case r.MachineID == "" || machine != r.MachineID:
		return fmt.Errorf("runner %s comes with another machine id", r.ID)
	}
	return nil
}

// either returns the one value of two headers of which newer runners send the second.
func either(h http.Header, names ...string) (string, error) {
	var values []string
	for _, name := range names {
		values = append(values, h[name]...)
	}
	if len(values) != 1 {
		return "", errors.New("want each machine header once")
	}
	return values[0], nil
}

func normalMAC(s string) string { return strings.ToLower(strings.ReplaceAll(s, "-", ":")) }

// checkMachine refuses a runner that could not be bound.
func (h *Handler) checkMachine(req EnrollRequest) error {
	switch {
	case h.binding != Bind:
		return nil
	case req.MAC == "":
		return missing("mac_address")
	case req.MachineID == "":
		return missing("machine_id")
	}
	return nil
}
