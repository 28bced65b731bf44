package config

import (
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vespiary/vespiary/host/internal/config/strict"
)

// The engines that a tool's plugin can run on.
const (
	EngineNative = "native"
	EngineExtism = "extism"
)

const (
	builtin = "builtin:"
	digest  = "sha256:"

	literalSecret = `a secret does not belong in this file; write "${env:NAME}" or "${file:PATH}"`

	pluginForms = `builtin:NAME, the path of a .wasm file, a name of the registry, sha256:DIGEST, or external for an agent elsewhere`
)

var (
	nameForm   = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
	digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	headerForm = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
	private    = regexp.MustCompile(`(?i)auth|key|token|cookie|secret|password`)
)

// checker knows a configuration that was decoded and reports what is wrong in it.
type checker struct {
	*Config
	*strict.Report
}

func check(c *Config, r *strict.Report) {
	k := checker{c, r}
	k.host()
	k.limits()
	k.names()
	for name, m := range c.Models {
		k.model("models."+name, m)
	}
	for name, t := range c.Tools {
		k.tool("tools."+name, t)
	}
	for name, f := range c.Folders {
		if f.ReadOnly != nil && !*f.ReadOnly {
			k.Addf("folders."+name+".readonly", "folders are mounted read-only; leave this out, and let agents write to their workspace")
		}
	}
	for name, a := range c.Agents {
		k.agent("agents."+name, a)
	}
	for name, w := range c.Webhooks {
		k.webhook("webhooks."+name, w)
	}
	k.policies()
	k.identity()
	k.money()
}

func (k checker) host() {
	if k.Has("version") && k.Version != 1 {
		k.Addf("version", "this host reads version 1; write version: 1, or update the host")
	}
	if !isAddress(k.Listen) {
		k.Addf("listen", "expected an address such as 127.0.0.1:7070")
	}
	for path, value := range map[string]string{"data": k.Data, "policies": k.Policies} {
		if value == "" {
			k.Addf(path, "expected the path of a folder; leave the key out for ./%s", path)
		}
	}
	if k.Telemetry.OTLP != "" && !isURL(k.Telemetry.OTLP) {
		k.Addf("telemetry.otlp", "expected a URL such as http://127.0.0.1:4318")
	}
}

func (k checker) limits() {
	for path, n := range map[string]int{"sessions": k.Limits.Sessions, "requests": k.Limits.Requests} {
		k.notNegative("limits."+path, int64(n))
	}
	if k.Limits.Patience <= 0 {
		k.Addf("limits.patience", "expected how long a blocked guest stays in memory, such as 10s; a long one, such as 52w, keeps it there")
	}
	if k.Approvals.Expire <= 0 {
		k.Addf("approvals.expire", "expected how long a question waits for its answer, such as 24h; leave it out for that")
	}
}

func (k checker) names() {
	for section, names := range map[string][]string{
		"models": keys(k.Models), "tools": keys(k.Tools), "folders": keys(k.Folders), "agents": keys(k.Agents),
		"webhooks": keys(k.Webhooks), "groups": keys(k.Groups),
		"identity.issuers": keys(k.Identity.Issuers), "identity.peers": keys(k.Identity.Peers),
	} {
		for _, name := range names {
			if !nameForm.MatchString(name) {
				k.Addf(section+"."+name, "a name has lower-case letters, digits, - and _, and begins with a letter")
			}
		}
	}
	// Agents see a folder as the first part of a path, beside their workspace.
	if _, ok := k.Folders["workspace"]; ok {
		k.Addf("folders.workspace", "workspace is the name of the session's own files; choose another")
	}
}

func (k checker) model(path string, m Model) {
	switch m.Provider {
	case "openai", "anthropic":
		if m.Model == "" {
			k.Addf(path+".model", "the provider's name of the model is missing")
		}
		if k.Has(path + ".latency") {
			k.Addf(path+".latency", "only the provider offline has a latency of its own; leave it out")
		}
	case "offline":
	default:
		k.Addf(path+".provider", "unknown provider; write openai, anthropic or offline")
	}
	if m.BaseURL != "" && !isURL(m.BaseURL) {
		k.Addf(path+".base_url", "expected a URL such as http://127.0.0.1:11434/v1")
	}
	k.secret(path+".key", m.Key)
	for header, value := range m.Headers {
		k.header(path+".headers."+header, header, value)
	}
	k.notNegative(path+".max_tokens", int64(m.MaxTokens))
	k.price(path+".price", m.Price)
}

func (k checker) price(path string, p *Price) {
	if p == nil {
		return
	}
	for name, v := range map[string]float64{
		"input": p.Input, "output": p.Output, "cache_read": p.CacheRead, "cache_write": p.CacheWrite,
	} {
		if v < 0 || v > 1e6 {
			k.Addf(path+"."+name, "expected US dollars per million tokens, from 0 to 1000000")
		}
	}
}

// secret does not repeat the value: a literal one must not reach a log.
func (k checker) secret(path string, s Secret) {
	if !s.IsZero() && !s.only() {
		k.Addf(path, literalSecret)
	}
}

func (k checker) header(path, name string, value Secret) {
	switch {
	case !headerForm.MatchString(name):
		k.Addf(path, "this is not the name of an HTTP header")
	case private.MatchString(name) && !value.references():
		k.Addf(path, literalSecret+" in its place")
	}
}

func (k checker) tool(path string, t Tool) {
	switch {
	case (t.Plugin == "") == (t.MCP == ""):
		k.Addf(path, "give one of plugin and mcp")
	case t.MCP != "" && !isURL(t.MCP):
		k.Addf(path+".mcp", "expected a URL such as https://mcp.example.com/mcp")
	case t.Plugin == PluginExternal:
		k.Addf(path+".plugin", "only an agent can be external; name a plugin, or the MCP server of the tools")
	case t.Plugin != "":
		k.plugin(path+".plugin", t.Plugin)
	}
	if t.Engine != "" && (t.MCP != "" || t.Engine != EngineNative && t.Engine != EngineExtism) {
		k.Addf(path+".engine", "expected native or extism, and a plugin to run on it")
	}
	if t.MCP == "" && !t.Token.IsZero() {
		k.Addf(path+".token", "only an MCP server takes a token; leave it out")
	}
	k.secret(path+".token", t.Token)
}

func (k checker) agent(path string, a Agent) {
	k.plugin(path+".plugin", a.Plugin)
	k.external(path, a)
	if a.Model != "" {
		k.known(path+".model", "model", a.Model, keys(k.Models))
	}
	for i, selector := range a.Tools {
		source, tool, dotted := strings.Cut(selector, ".")
		k.known(path+".tools."+strconv.Itoa(i), "tool source", source, keys(k.Tools))
		if dotted && tool == "" {
			k.Addf(path+".tools."+strconv.Itoa(i), "the tool's name after the dot is missing")
		}
	}
	for i, folder := range a.Folders {
		k.known(path+".folders."+strconv.Itoa(i), "folder", folder, keys(k.Folders))
	}
	for i, role := range a.Roles {
		if !nameForm.MatchString(role) {
			k.Addf(path+".roles."+strconv.Itoa(i), "a role has lower-case letters, digits, - and _, and begins with a letter")
		}
	}
	k.notNegative(path+".max_steps", int64(a.MaxSteps))
	k.budget(path+".budget", a.Budget)
}

func (k checker) plugin(path, plugin string) {
	name, isBuiltin := strings.CutPrefix(plugin, builtin)
	switch {
	case isBuiltin:
		if !nameForm.MatchString(name) {
			k.Addf(path, "expected the name of a built-in plugin after builtin:")
		}
	case strings.HasPrefix(plugin, digest):
		if !digestForm.MatchString(plugin) {
			k.Addf(path, "a digest is sha256: and 64 hexadecimal digits")
		}
	case !IsPath(plugin) && !nameForm.MatchString(plugin):
		k.Addf(path, "expected %s", pluginForms)
	}
}

func (k checker) known(path, what, name string, names []string) {
	if !slices.Contains(names, name) {
		k.Addf(path, "there is no %s %q; %s", what, name, strict.Nearest(name, names))
	}
}

func (k checker) notNegative(path string, n int64) {
	if n < 0 {
		k.Addf(path, "expected a number that is not negative; leave it out for no limit")
	}
}

func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil
}

func isAddress(s string) bool {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

func keys[V any](m map[string]V) []string { return slices.Collect(maps.Keys(m)) }
