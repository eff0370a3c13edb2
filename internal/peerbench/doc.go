// Package peerbench measures what it costs to verify one signed GET with
// keywright, with other libraries for RFC 9421 and with crypto/ed25519 alone:
//
//	go test -bench Verify -benchmem
//
// It has tests only, and is a module of its own so that nobody who uses
// keywright gets the other libraries.
package peerbench
