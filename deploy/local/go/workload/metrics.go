package main

import (
	"fmt"
	"strconv"
	"strings"
)

// metricLines gives the lines of METRICS as Prometheus reads them.
//
// Metrics are separated by semicolons. A value is a number, the name of an environment variable with a
// number for the case that it is not set, or two of these with one of + - * / between them:
//
//	queue_fill_ratio = 460 / MAX_QUEUE_SIZE:500
//	request_seconds{path="/pay"} = TIMEOUT_SECONDS:2 * 0.9
//
// The first one is 0.92 until somebody sets MAX_QUEUE_SIZE to something larger. What cannot be read becomes
// a comment that says so, since a missing metric would be hard to find.
func metricLines(all string, environment func(string) string) []string {
	var lines []string
	for _, one := range strings.Split(all, ";") {
		one = strings.TrimSpace(one)
		if one == "" {
			continue
		}
		// Labels may hold an equals sign; the value's own is the last one.
		place := strings.LastIndex(one, "=")
		if place < 0 {
			lines = append(lines, fmt.Sprintf("# %s: there is no value", one))
			continue
		}
		value, err := evaluated(strings.Fields(one[place+1:]), environment)
		if err != nil {
			lines = append(lines, fmt.Sprintf("# %s: %v", one, err))
			continue
		}
		lines = append(lines, fmt.Sprintf("%s %g", strings.TrimSpace(one[:place]), value))
	}
	return lines
}

func evaluated(words []string, environment func(string) string) (float64, error) {
	if len(words) != 1 && len(words) != 3 {
		return 0, fmt.Errorf("a value is one word, or two with a sign between them")
	}
	left, err := number(words[0], environment)
	if err != nil || len(words) == 1 {
		return left, err
	}
	right, err := number(words[2], environment)
	if err != nil {
		return 0, err
	}
	switch words[1] {
	case "+":
		return left + right, nil
	case "-":
		return left - right, nil
	case "*":
		return left * right, nil
	case "/":
		return left / right, nil
	}
	return 0, fmt.Errorf("%s is none of + - * /", words[1])
}

func number(word string, environment func(string) string) (float64, error) {
	if value, err := strconv.ParseFloat(word, 64); err == nil {
		return value, nil
	}
	name, otherwise, _ := strings.Cut(word, ":")
	text := environment(name)
	if text == "" {
		text = otherwise
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is %q, which is not a number", name, text)
	}
	return value, nil
}
