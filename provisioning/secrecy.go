package provisioning

import (
	"fmt"
	"io"
	"log/slog"
)

// What holds a secret is printed and logged without it. As JSON it is sent, so
// there it stands.

func (p Provisioned) String() string   { return "credentials of runner " + p.ID }
func (k NewKey) String() string        { return "provisioning key " + k.ID }
func (r Rotated) String() string       { return "key of runner " + r.ID }
func (r EnrollRequest) String() string { return "enrollment of runner " + r.ID }
func (KeyState) String() string        { return "keys of a runner" }

// Format keeps the secrets out, whichever verb prints them.
func (p Provisioned) Format(s fmt.State, _ rune) { io.WriteString(s, p.String()) }

// Format keeps the secret out, whichever verb prints it.
func (k NewKey) Format(s fmt.State, _ rune) { io.WriteString(s, k.String()) }

// Format keeps the secret out, whichever verb prints it.
func (r Rotated) Format(s fmt.State, _ rune) { io.WriteString(s, r.String()) }

// Format keeps the secrets out, whichever verb prints them.
func (r EnrollRequest) Format(s fmt.State, _ rune) { io.WriteString(s, r.String()) }

// Format keeps the secrets out, whichever verb prints them.
func (k KeyState) Format(s fmt.State, _ rune) { io.WriteString(s, k.String()) }

// LogValue keeps the secrets out of logs in JSON.
func (p Provisioned) LogValue() slog.Value { return slog.StringValue(p.String()) }

// LogValue keeps the secret out of logs in JSON.
func (k NewKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// LogValue keeps the secret out of logs in JSON.
func (r Rotated) LogValue() slog.Value { return slog.StringValue(r.String()) }

// LogValue keeps the secrets out of logs in JSON.
func (r EnrollRequest) LogValue() slog.Value { return slog.StringValue(r.String()) }

// LogValue keeps the secrets out of logs in JSON.
func (k KeyState) LogValue() slog.Value { return slog.StringValue(k.String()) }
