package provisioning

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
)

const (
	maxDevices = 64
	maxGain    = 1000
)

// A DeviceName is a text, or the number of a device.
type DeviceName string

// UnmarshalJSON reads a string or a whole number.
func (n *DeviceName) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*n = DeviceName(text)
		return nil
	}
	if i, err := strconv.Atoi(string(data)); err == nil {
		*n = DeviceName(strconv.Itoa(i))
		return nil
	}
	return errors.New("devices.name: want a string or a whole number")
}

// MarshalJSON writes a number as one.
func (n DeviceName) MarshalJSON() ([]byte, error) {
	if i, ok := n.number(); ok {
		return []byte(strconv.Itoa(i)), nil
	}
	return json.Marshal(string(n))
}

func (n DeviceName) number() (int, bool) {
	i, err := strconv.Atoi(string(n))
	return i, err == nil && strconv.Itoa(i) == string(n)
}

func checkDevices(devices []Device) error {
	if len(devices) > maxDevices {
		return invalid("devices: more than %d", maxDevices)
	}
	for i, d := range devices {
		if err := d.check(fmt.Sprintf("devices[%d]", i)); err != nil {
			return err
		}
	}
	return nil
}

func (d Device) check(field string) error {
	if d.Name == "" {
		return missing(field + ".name")
	}
	if d.Model == "" {
		return missing(field + ".model")
	}
	if err := checkText(field+".name", string(d.Name), maxText); err != nil {
		return err
	}
	if err := checkText(field+".model", d.Model, maxText); err != nil {
		return err
	}
	for name, gain := range map[string]*float64{"rf_gain": d.RFGain, "if_gain": d.IFGain} {
		if gain != nil && !(math.Abs(*gain) <= maxGain) {
			return invalid("%s.%s: want a number from -%d to %d", field, name, maxGain, maxGain)
		}
	}
	if len(d.Limits) > maxDevices {
		return invalid("%s.frequency_limits: more than %d", field, maxDevices)
	}
	for _, l := range d.Limits {
		if err := checkText(field+".frequency_limits", l, maxText); err != nil {
			return err
		}
	}
	return nil
}
