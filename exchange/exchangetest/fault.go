package exchangetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"
)

// A Fault is a way for an issuer to answer badly.
type Fault int

// The faults. Where one changes a document, what it does not name stays right,
// so that only the check for that fault can notice.
const (
	None        Fault = iota
	Down              // the connection is closed without an answer
	Silent            // the request is read and never answered
	Slow              // the document comes at one byte per second
	Huge              // the document is valid and has 10 MB
	Status500         // the document comes with status 500
	Reset             // the connection is reset in the middle of the document
	WrongIssuer       // the discovery document names another issuer; the keys are right
	EmptySet          // the key set has no keys; the discovery document is right
	Redirect          // 302 to the address where clouds keep their credentials
	HTML              // status 200 and a web page
	NotFound          // the document comes with status 404
)

const hugeSize = 10 << 20

// SetFault makes every answer from now on a bad one, or with None a good one.
// Requests that a fault is holding stay held until their client gives up or the
// test ends.
func (i *Issuer) SetFault(f Fault) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.faults = [2]Fault{f, f}
}

// SetKeysFault is SetFault for the key set alone; the discovery document keeps
// the fault that it has.
func (i *Issuer) SetKeysFault(f Fault) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.faults[1] = f
}

// Fetches returns how often the discovery document and the key set were asked
// for, whatever the answer.
func (i *Issuer) Fetches() (discovery, jwks int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.discovery, i.jwks
}

// count takes note of a request and returns the fault to answer it with.
func (i *Issuer) count(path string) Fault {
	i.mu.Lock()
	defer i.mu.Unlock()
	if path == i.path+keysPath {
		i.jwks++
		return i.faults[1]
	}
	i.discovery++
	return i.faults[0]
}

// serve answers GET and HEAD of the discovery document and the key set.
func (i *Issuer) serve(w http.ResponseWriter, r *http.Request) {
	var document []byte
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	case r.URL.Path == i.path+discoveryPath:
		document = i.discoveryDocument(i.URL())
	case r.URL.Path == i.path+keysPath:
		document = i.JWKS()
	default:
		http.NotFound(w, r)
		return
	}
	i.answer(w, r, i.count(r.URL.Path), document)
}

func (i *Issuer) discoveryDocument(issuer string) []byte {
	text, err := json.Marshal(map[string]any{
		"issuer":                                issuer,
		"jwks_uri":                              i.URL() + keysPath,
		"response_types_supported":              []string{"id_token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{i.algorithm()},
		"scopes_supported":                      []string{"openid"},
	})
	if err != nil {
		i.t.Errorf("exchangetest: %v", err)
	}
	return text
}

func (i *Issuer) answer(w http.ResponseWriter, r *http.Request, f Fault, document []byte) {
	keys := r.URL.Path == i.path+keysPath
	status, media := http.StatusOK, "application/json; charset=utf-8"
	switch f {
	case Down:
		panic(http.ErrAbortHandler)
	case Silent:
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case Slow:
		drip(w, r, media, document)
		return
	case Reset:
		reset(w, media, document)
		return
	case Redirect:
		http.Redirect(w, r, "http://169.254.169.254/latest/meta-data", http.StatusFound)
		return
	case Huge:
		padding := bytes.Repeat([]byte("a"), hugeSize)
		document = fmt.Appendf(document[:len(document)-1], `,"padding":"%s"}`, padding)
	case HTML:
		media, document = "text/html; charset=utf-8", []byte("<!DOCTYPE html><title>Sign in</title>")
	case WrongIssuer:
		if !keys {
			document = i.discoveryDocument("https://issuer.invalid")
		}
	case EmptySet:
		if keys {
			document = []byte(`{"keys":[]}`)
		}
	case Status500:
		status = http.StatusInternalServerError
	case NotFound:
		status = http.StatusNotFound
	}
	w.Header().Set("Content-Type", media)
	w.WriteHeader(status)
	w.Write(document)
}

// drip writes the document at one byte per second.
func drip(w http.ResponseWriter, r *http.Request, media string, document []byte) {
	w.Header().Set("Content-Type", media)
	w.Header().Set("Content-Length", fmt.Sprint(len(document)))
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for n := range document {
		w.Write(document[n : n+1])
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-second.C:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
}

// reset writes half of the document and drops the connection with an RST,
// which is what closing it does when it may not linger.
func reset(w http.ResponseWriter, media string, document []byte) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", media, len(document))
	conn.Write(document[:len(document)/2])
	// An RST overtakes what was written: give the half a moment to arrive.
	time.Sleep(20 * time.Millisecond)
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
}
