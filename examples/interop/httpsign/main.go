// Command httpsign sends a request signed with github.com/yaronf/httpsign, which
// knows nothing of Signature-Key: that field is set by hand first, and covered.
//
//	openssl genpkey -algorithm ed25519 -out key.pem
//	httpsign -body '{}' http://127.0.0.1:8080/enrol           (hwk; prints an agent_token)
//	httpsign -token agent.token http://127.0.0.1:8080/whoami  (jwt)
package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"

	"github.com/yaronf/httpsign"
)

func main() {
	keyFile := flag.String("key", "key.pem", "PEM `file` with an Ed25519 key (PKCS #8)")
	tokenFile := flag.String("token", "", "`file` with an agent token for that key: scheme jwt instead of hwk")
	body := flag.String("body", "", "JSON to POST instead of a GET")
	spare := flag.Bool("spare", false, "send the parameters alg and keyid too, which servers of AAuth ignore")
	flag.Parse()
	key := readKey(*keyFile)
	req, err := http.NewRequest(http.MethodGet, flag.Arg(0), strings.NewReader(*body))
	check(err)
	covered := httpsign.Headers("@method", "@authority", "@path", "signature-key")
	if *body != "" {
		req.Method = http.MethodPost
		req.Header.Set("Content-Type", "application/json")
		covered.AddHeaders("content-type", "content-digest") // the client computes the digest
	}
	x := base64.RawURLEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
	req.Header.Set("Signature-Key", `sig=hwk;kty="OKP";crv="Ed25519";x="`+x+`";alg="Ed25519"`)
	if *tokenFile != "" {
		token, err := os.ReadFile(*tokenFile)
		check(err)
		req.Header.Set("Signature-Key", `sig=jwt;jwt="`+strings.TrimSpace(string(token))+`"`)
	}
	config := httpsign.NewSignConfig().SignAlg(*spare)
	if *spare {
		config.SetKeyID("a key")
	}
	signer, err := httpsign.NewEd25519Signer(key, config, covered)
	check(err)
	resp, err := httpsign.NewDefaultClient(httpsign.NewClientConfig().SetSignatureName("sig").SetSigner(signer)).Do(req)
	check(err)
	defer resp.Body.Close()
	fmt.Println(resp.StatusCode, resp.Header.Get("Signature-Error"))
	io.Copy(os.Stdout, resp.Body) // as far as it comes
}

func readKey(path string) ed25519.PrivateKey {
	b, err := os.ReadFile(path)
	check(err)
	if block, _ := pem.Decode(b); block != nil {
		b = block.Bytes
	}
	parsed, err := x509.ParsePKCS8PrivateKey(b)
	check(err)
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		log.Fatal("-key: want an Ed25519 key")
	}
	return key
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
