// Command hello is the smallest tool: one typed function.
package main

import vespiary "github.com/vespiary/vespiary/sdk/go"

type person struct {
	Name string `json:"name" doc:"who to greet"`
}

var _ = vespiary.Tool("hello", "Greets a person by name.", func(_ *vespiary.Context, p person) (string, error) {
	return "Hello, " + p.Name + "!", nil
})

func main() {}
