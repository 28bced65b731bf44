package cedar

import (
	"errors"
	"strconv"
	"strings"

	"github.com/vespiary/vespiary/policy"
)

// decimalPlaces is how many digits Cedar keeps after the point.
const decimalPlaces = 4

var errInexact = errors.New("is a number that policies cannot hold exactly")

// exactly is the JSON number times ten to the power of places, or an error where that is
// no whole number of 64 bits. It works on the digits, so that an exponent of any size
// costs nothing.
func exactly(number string, places int) (int64, error) {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(number), "e")
	digits, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	digits = strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return 0, nil
	}
	shift := 0
	if exponent != "" {
		var err error
		if shift, err = strconv.Atoi(exponent); err != nil || shift > 1<<30 || shift < -1<<30 {
			return 0, errInexact
		}
	}
	shift += places - len(fraction)
	switch {
	case shift < 0 && -shift >= len(digits) || shift > len("9223372036854775807"):
		return 0, errInexact
	case shift < 0:
		if strings.Trim(digits[len(digits)+shift:], "0") != "" {
			return 0, errInexact
		}
		digits = digits[:len(digits)+shift]
	default:
		digits += strings.Repeat("0", shift)
	}
	if negative {
		digits = "-" + digits
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, errInexact
	}
	return n, nil
}

// decimal is the JSON number in the form that Cedar writes.
func decimal(number string) (policy.Decimal, error) {
	n, err := exactly(number, decimalPlaces)
	if err != nil {
		return "", err
	}
	digits, negative := strings.CutPrefix(strconv.FormatInt(n, 10), "-")
	if missing := decimalPlaces + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	point := len(digits) - decimalPlaces
	fraction := strings.TrimRight(digits[point:], "0")
	if fraction == "" {
		fraction = "0"
	}
	sign := ""
	if negative {
		sign = "-"
	}
	return policy.Decimal(sign + digits[:point] + "." + fraction), nil
}
