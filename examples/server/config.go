package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"
)

// config is the JSON file. The members of applicationsConfig stand beside the
// others, under the names that Quay has for them.
type config struct {
	Bootstrap      bootstrapConfig    `json:"bootstrap"`
	Exchange       exchangeConfig     `json:"exchange"`
	Provisioning   provisioningConfig `json:"provisioning"`
	Agents         *agentsConfig      `json:"agents"`          // null: there are none
	Admin          *adminConfig       `json:"admin"`           // null: nobody logs in
	TrustedProxies []netip.Prefix     `json:"trusted_proxies"` // that are believed in who the client is
	applicationsConfig
}

// duration is written like "15m".
type duration struct {
	time.Duration
	err error // encoding/json would report it without the name of the member
}

func (d *duration) UnmarshalText(b []byte) error {
	d.Duration, d.err = time.ParseDuration(string(b))
	return nil
}

// checkDurations reports the first one that could not be read, by its name.
func checkDurations(section string, all map[string]duration) error {
	for name, d := range all {
		if d.err != nil {
			return fmt.Errorf("%s.%s: %w", section, name, d.err)
		}
	}
	return nil
}

func readConfig(path string) (config, error) {
	var c config
	if path == "" {
		return c, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("-config: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	err = dec.Decode(&c)
	if _, behind := dec.Token(); err == nil && behind != io.EOF {
		err = errors.New("something follows the JSON object")
	}
	for _, check := range []func() error{c.Bootstrap.check, c.Provisioning.check, c.Agents.check, c.Admin.check, c.applicationsConfig.check} {
		if err == nil {
			err = check()
		}
	}
	if err != nil {
		return c, fmt.Errorf("-config %s: %w", path, err)
	}
	return c, nil
}
