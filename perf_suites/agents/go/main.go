// The specification of SPEC.md with net/http.
package main

import (
	"bytes"
	"crypto/rand"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

type options struct {
	NumPredict int `json:"num_predict"`
	Seed       int `json:"seed"`
}

type request struct {
	Model   string  `json:"model"`
	Prompt  string  `json:"prompt"`
	Stream  bool    `json:"stream"`
	Options options `json:"options"`
}

var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// mark tells the tap where the agent begins or ends, if it reads marks; a server that does not know it answers 404,
// which is no error.
func mark(base, moment string) error {
	if os.Getenv("LLMPERF_MARKS") != "1" {
		return nil
	}
	answer, err := client.Post(base+"/llmperf/"+moment, "", nil)
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

func ask(base, prompt string) (string, error) {
	unique := make([]byte, 16)
	if _, err := rand.Read(unique); err != nil {
		return "", err
	}
	tokens := 32
	if text := os.Getenv("LLMPERF_NUM_PREDICT"); text != "" {
		var err error
		if tokens, err = strconv.Atoi(text); err != nil {
			return "", err
		}
	}
	body, err := json.Marshal(request{
		os.Getenv("LLMPERF_MODEL"), fmt.Sprintf("%x %s", unique, prompt), true, options{tokens, 42},
	})
	if err != nil {
		return "", err
	}
	answer, err := client.Post(base+"/api/generate", "application/json", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return "", errors.New("the server answered " + answer.Status)
	}
	var text strings.Builder
	lines := json.NewDecoder(answer.Body)
	for {
		var chunk struct{ Response, Error string }
		if err := lines.Decode(&chunk); err == io.EOF {
			return text.String(), nil
		} else if err != nil {
			return "", err
		}
		if chunk.Error != "" {
			return "", errors.New(chunk.Error)
		}
		text.WriteString(chunk.Response)
	}
}

func ingest(folder string) (string, error) {
	entries, err := os.ReadDir(folder) // sorted
	if err != nil {
		return "", err
	}
	sum, runs, configurations, words := 0.0, 0, 0, 0
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			return "", err
		}
		switch filepath.Ext(entry.Name()) {
		case ".csv":
			rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
			if err != nil {
				return "", err
			}
			for column, name := range rows[0] {
				if name != "tok_s" {
					continue
				}
				for _, row := range rows[1:] {
					rate, err := strconv.ParseFloat(row[column], 64)
					if err != nil {
						return "", err
					}
					sum, runs = sum+rate, runs+1
				}
			}
		case ".json":
			var configuration struct{ Name string }
			if err := json.Unmarshal(data, &configuration); err != nil {
				return "", err
			}
			configurations++
		case ".md":
			words += len(strings.Fields(string(data)))
		}
	}
	return fmt.Sprintf("%d runs of %d configurations: mean %.1f tok/s, %d words",
		runs, configurations, sum/float64(runs), words), nil
}

func agent(name, base, folder, reports string) error {
	if err := mark(base, "begin"); err != nil {
		return err
	}
	first, second := "Describe the readings.", "In one sentence, the readings show"
	if folder != "" {
		readings, err := ingest(folder)
		if err != nil {
			return err
		}
		first, second = "Readings of "+readings+". What stands out is", "Write the report. The readings show"
	}
	analysis, err := ask(base, first)
	if err != nil {
		return err
	}
	report, err := ask(base, second)
	if err != nil {
		return err
	}
	if reports != "" {
		text := "# Report\n\n## Analysis\n\n" + analysis + "\n\n## Report\n\n" + report + "\n"
		if err := os.WriteFile(filepath.Join(reports, name+".md"), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return mark(base, "end")
}

func main() {
	words := append(os.Args[1:], "", "", "")
	folder, reports := "", words[1]
	if words[0] == "workflow" {
		folder, reports = words[1], words[2]
	}
	bases := map[string]string{"agent": os.Getenv("LLMPERF_BASE_URL")}
	if names := os.Getenv("LLMPERF_AGENTS"); names != "" {
		bases = map[string]string{}
		for _, name := range strings.Split(names, ",") {
			bases[name] = os.Getenv("LLMPERF_BASE_URL_" + strings.ToUpper(name))
		}
	}
	ended := make(chan error)
	for name, base := range bases {
		go func() { ended <- agent(name, base, folder, reports) }()
	}
	for range bases {
		if err := <-ended; err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	fmt.Printf("{\"language\": \"go\", \"runtime\": \"net/http\", \"version\": %q}\n", runtime.Version())
}
