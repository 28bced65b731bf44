package project

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/config/strict"
)

// PluginFile is the name of the file that describes a plugin, in its folder.
const PluginFile = "plugin.yaml"

// pluginFile is the content of plugin.yaml.
type pluginFile struct {
	ABI         int                     `yaml:"abi,required"`
	Kind        abi.PluginKind          `yaml:"kind,required"`
	Name        string                  `yaml:"name,required"`
	Version     string                  `yaml:"version"`
	Description string                  `yaml:"description"`
	Needs       []string                `yaml:"needs,required"`
	Recovery    map[string]abi.Recovery `yaml:"recovery"`
	Data        map[string][]string     `yaml:"data"`
	Build       string                  `yaml:"build"`
}

// readPlugin reads and checks the plugin.yaml of a folder. The manifest holds what
// travels in the module; the command that builds it does not.
func readPlugin(dir string) (*abi.Manifest, string, error) {
	path := filepath.Join(dir, PluginFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, "", fmt.Errorf("%w; begin with vespiary new", err)
	}
	m, build, r := parsePlugin(path, data)
	return m, build, r.Err()
}

func parsePlugin(path string, data []byte) (*abi.Manifest, string, *strict.Report) {
	var f pluginFile
	r := strict.Decode(path, data, &f)
	m := &abi.Manifest{
		ABI: f.ABI, Kind: f.Kind, Name: f.Name, Version: f.Version, Description: f.Description,
		Needs: f.Needs, Recovery: f.Recovery, Data: f.Data,
	}
	for i, name := range f.Needs {
		if _, ok := Describe(name); !ok {
			r.Addf(fmt.Sprintf("needs.%d", i), "there is no capability %q; %s", name, strict.Nearest(name, capabilityNames()))
		}
	}
	if slices.Sort(m.Needs); len(m.Needs) == 0 {
		m.Needs = []string{} // an empty list, not null, in the manifest
	}
	if r.Err() == nil {
		if err := m.Validate(); err != nil {
			r.Addf("", "%v", err)
		}
	}
	return m, f.Build, r
}
