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

// The answers by their keys. Keep them in your database, in the transaction of what the stage does: here they are lost with
// the process.
var answers = map[string]any{}
var mutex sync.Mutex

// check is the business.
func check(total int64) any {
	if total > 500_000 {
		return map[string]string{"reject": "too large"}
	}
	return map[string]any{"done": map[string]any{"owed": total}}
}

// answer gives the same answer to the same key. An undo wins over its run, whichever comes first.
func answer(key string, given request) (int, any) {
	mutex.Lock()
	defer mutex.Unlock()
	if _, undone := answers[key+":undo"]; undone && given.Operation == "run" {
		return http.StatusGone, struct{}{}
	}
	if _, known := answers[key]; !known {
		if given.Operation == "run" {
			answers[key] = check(given.Order.Total)
		} else {
			answers[key] = map[string]any{"done": struct{}{}}
		}
	}
	return http.StatusOK, answers[key]
}

// isSigned checks the signature of Standard Webhooks over the bytes as they came, within the last five minutes.
func isSigned(header http.Header, body []byte) bool {
	sent, err := strconv.ParseInt(header.Get("webhook-timestamp"), 10, 64)
	if age := time.Now().Unix() - sent; err != nil || age > 300 || age < -300 {
		return false
	}
	for _, secret := range strings.Fields(os.Getenv("SIGNING_SECRET")) {
		key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%d.%s", header.Get("webhook-id"), sent, body)
		right := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
		for _, given := range strings.Fields(header.Get("webhook-signature")) {
			if hmac.Equal([]byte(given), []byte(right)) {
				return true
			}
		}
	}
	return false
}

func main() {
	http.HandleFunc("/", func(response http.ResponseWriter, asked *http.Request) {
		body, _ := io.ReadAll(asked.Body)
		var given request
		var status, made = http.StatusOK, any(struct{}{})
		if asked.Method != http.MethodPost {
			status = http.StatusMethodNotAllowed
		} else if !isSigned(asked.Header, body) {
			status = http.StatusUnauthorized
		} else if json.Unmarshal(body, &given) != nil {
			status = http.StatusBadRequest
		} else {
			status, made = answer(asked.Header.Get("webhook-id"), given)
		}
		response.Header().Set("content-type", "application/json")
		response.WriteHeader(status)
		json.NewEncoder(response).Encode(made)
	})
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+port, nil))
}
