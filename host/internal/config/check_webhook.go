package config

import (
	"net/url"
	"strconv"
	"strings"
)

// notices are what a webhook can be told of.
var notices = []string{"waiting", "approval", "failed", "parked", "unknown"}

func (k checker) webhook(path string, w Webhook) {
	k.webhookURL(path+".url", w)
	k.signing(path, w)
	for i, n := range w.On {
		k.known(path+".on."+strconv.Itoa(i), "notice", n, notices)
	}
	if len(w.On) == 0 && k.Has(path+".on") {
		k.Addf(path+".on", "expected some of %s; leave it out for all", strings.Join(notices, ", "))
	}
}

func (k checker) signing(path string, w Webhook) {
	const message = "give one of secret and secrets, a reference to whsec_ and base64; make one with: echo whsec_$(openssl rand -base64 32)"
	one, many := k.Has(path+".secret"), k.Has(path+".secrets")
	if one == many {
		k.Addf(path, message)
		return
	}
	if one && !w.Secret.only() {
		k.Addf(path+".secret", literalSecret)
	}
	if many && len(w.Secrets) == 0 {
		k.Addf(path+".secrets", message)
	}
	for i, s := range w.Secrets {
		if !s.only() {
			k.Addf(path+".secrets."+strconv.Itoa(i), literalSecret)
		}
	}
}

// webhookURL checks as much of a URL as stands in the file, and does not repeat it. What
// a reference leads to is checked where it is followed.
func (k checker) webhookURL(path string, w Webhook) {
	text := w.URL.text
	if strings.HasPrefix(text, "${") {
		return
	}
	text = reference.ReplaceAllLiteralString(text, "x")
	u, err := url.Parse(text)
	switch {
	case err != nil || !isURL(text):
		k.Addf(path, "expected a URL such as https://ops.example.com/hooks, or a reference to one")
	case u.Scheme == "http" && !w.Private:
		k.Addf(path, "http sends in the clear; write https, or private: true for an endpoint on this machine or a private network")
	case private.MatchString(u.RawQuery) && !w.URL.references():
		k.Addf(path, literalSecret+" in its place")
	}
}
