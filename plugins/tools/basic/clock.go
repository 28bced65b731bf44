package main

import (
	"fmt"
	"strings"
	"time"
)

type clockInput struct {
	Zone string `json:"zone,omitempty" doc:"an offset from UTC such as +02:00; UTC if left out"`
}

type clockOutput struct {
	Time    string `json:"time" doc:"in the zone asked for, as in RFC 3339"`
	UTC     string `json:"utc"`
	Weekday string `json:"weekday" doc:"in the zone asked for"`
	Unix    int64  `json:"unix" doc:"seconds since 1970-01-01 UTC"`
}

// String writes the time for a model to read.
func (o clockOutput) String() string {
	return fmt.Sprintf("%s, %s (UTC: %s)", o.Weekday, o.Time, o.UTC)
}

func tell(now time.Time, zone string) (clockOutput, error) {
	location, err := zoneOf(zone)
	if err != nil {
		return clockOutput{}, err
	}
	local := now.In(location)
	return clockOutput{
		Time: local.Format(time.RFC3339), UTC: now.UTC().Format(time.RFC3339),
		Weekday: local.Weekday().String(), Unix: now.Unix(),
	}, nil
}

// zoneOf knows offsets, and names where the module was built with a zone
// database, which the plugin leaves out for its size.
func zoneOf(zone string) (*time.Location, error) {
	if zone == "" || zone == "Z" || zone == "UTC" {
		return time.UTC, nil
	}
	offset := strings.TrimPrefix(strings.TrimPrefix(zone, "UTC"), "GMT")
	for _, layout := range []string{"-07:00", "-0700", "-07"} {
		if t, err := time.Parse(layout, offset); err == nil {
			_, seconds := t.Zone()
			return time.FixedZone(zone, seconds), nil
		}
	}
	if location, err := time.LoadLocation(zone); err == nil && zone != "Local" {
		return location, nil
	}
	return nil, fmt.Errorf("invalid: zone %q is not known here; give its offset from UTC, as in +02:00", zone)
}
