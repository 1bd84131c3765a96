// A stage of Conveyor in Go, with nothing but the standard library. It refuses large orders.
//
//	SIGNING_SECRET=whsec_... PORT=8080 go run examples/stage.go
//
// docs/http-stages.md is the contract. SIGNING_SECRET may be several secrets, separated by spaces, while one is replaced.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

type request struct {
	Operation string
	Order     struct{ Total int64 }
}

// The answers by their ids. Keep them in your database, in the transaction of what the stage does.
var answers, mutex = map[string]string{}, sync.Mutex{}

func check(total int64) string {
	if total > 500_000 {
		return `{"reject":"too large"}`
	}
	return fmt.Sprintf(`{"done":{"owed":%d}}`, total)
}

// The same id gets the same answer, and an undo wins over its run, whichever comes first.
func answer(id string, given request) (int, string) {
	mutex.Lock()
	defer mutex.Unlock()
	if answers[id+":undo"] != "" {
		return http.StatusGone, "{}"
	}
	if answers[id] == "" && given.Operation == "undo" {
		answers[id] = `{"done":{}}`
	} else if answers[id] == "" {
		answers[id] = check(given.Order.Total)
	}
	return http.StatusOK, answers[id]
}

// By Standard Webhooks, over the bytes as they came, within the last five minutes.
func isSigned(header http.Header, body []byte) bool {
	sent, _ := strconv.ParseInt(header.Get("webhook-timestamp"), 10, 64)
	for _, secret := range strings.Fields(os.Getenv("SIGNING_SECRET")) {
		key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%d.%s", header.Get("webhook-id"), sent, body)
		right := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
		for _, given := range strings.Fields(header.Get("webhook-signature")) {
			if hmac.Equal([]byte(given), []byte(right)) {
				return time.Since(time.Unix(sent, 0)).Abs() < 5*time.Minute
			}
		}
	}
	return false
}

func main() {
	http.HandleFunc("/", func(response http.ResponseWriter, asked *http.Request) {
		body, _ := io.ReadAll(asked.Body)
		var given request
		status, made := http.StatusUnauthorized, "{}"
		if isSigned(asked.Header, body) {
			status = http.StatusBadRequest
			if json.Unmarshal(body, &given) == nil {
				status, made = answer(asked.Header.Get("webhook-id"), given)
			}
		}
		response.WriteHeader(status)
		io.WriteString(response, made)
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
