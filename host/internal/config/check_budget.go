package config

import "slices"

// A guest has at least one page of memory and at most what 32 bits address.
const (
	minMemory = 64 << 10
	maxMemory = 4 << 30
)

func (k checker) budget(path string, b Budget) {
	for _, limit := range []struct {
		key        string
		task, turn int64
	}{
		{"usd", int64(b.USD), int64(b.Turn.USD)},
		{"tokens", b.Tokens, b.Turn.Tokens},
		{"calls", b.Calls, b.Turn.Calls},
		{"time", int64(b.Time), int64(b.Turn.Time)},
		{"fuel", b.Fuel, b.Turn.Fuel},
	} {
		k.notNegative(path+"."+limit.key, limit.task)
		k.notNegative(path+".turn."+limit.key, limit.turn)
		if limit.task > 0 && limit.turn > limit.task {
			k.Addf(path+".turn."+limit.key, "a turn takes from its task's budget, and that is smaller; write less here, or raise budget.%s", limit.key)
		}
	}
	k.memory(path+".memory", b.Memory)
}

func (k checker) memory(path string, size Size) {
	switch {
	case size == 0:
	case size < minMemory || size > maxMemory:
		k.Addf(path, "expected a size from 64KiB to 4GiB, which is what a guest can have; leave it out for the host's own limit")
	case k.Limits.Memory > 0 && size > k.Limits.Memory:
		k.Addf(path, "one guest may not have more than all guests together; write less here, or raise limits.memory")
	}
}

// money: an agent may ask for any model that its policies allow, so one without a
// price would be a way around the budget.
func (k checker) money() {
	var priceless []string
	for name, m := range k.Models {
		if m.Price == nil && m.Provider != "offline" {
			priceless = append(priceless, name)
		}
	}
	if len(priceless) == 0 {
		return
	}
	slices.Sort(priceless)
	const message = "money cannot be counted: models.%s has no price; give it one (0 if it is free), or leave this out"
	if k.Limits.USDPerDay > 0 {
		k.Addf("limits.usd_per_day", message, priceless[0])
	}
	for name, a := range k.Agents {
		if a.Budget.USD > 0 {
			k.Addf("agents."+name+".budget.usd", message, priceless[0])
		}
		if a.Budget.Turn.USD > 0 {
			k.Addf("agents."+name+".budget.turn.usd", message, priceless[0])
		}
	}
}
