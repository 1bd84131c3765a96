# A stage of Conveyor in Ruby, with nothing but what comes with it. It refuses large orders.
#     SIGNING_SECRET=whsec_... PORT=8080 STATE=stage.pstore ruby examples/stage.rb
# docs/http-stages.md is the contract. SIGNING_SECRET may be several secrets, separated by spaces, while one is replaced.
require "json"
require "openssl"
require "pstore"
require "webrick"

STATE = PStore.new(ENV.fetch("STATE", "stage.pstore"), true)

def check(order)
  order["total"] > 500_000 ? { reject: "too large" } : { done: { owed: order["total"] } }
end

# The same id gets the same answer, and an undo wins over its run, whichever comes first.
def answer(id, request)
  STATE.transaction do
    next [410, {}] if STATE["#{id}:undo"]
    [200, STATE[id] ||= request["operation"] == "undo" ? { done: {} } : check(request["order"])]
  end
end

# By Standard Webhooks, over the bytes as they came, within the last five minutes.
def signed?(request, body)
  sent = request["webhook-timestamp"].to_s
  right = ENV.fetch("SIGNING_SECRET").split.map do |secret|
    key = secret.delete_prefix("whsec_").unpack1("m")
    "v1," + [OpenSSL::HMAC.digest("SHA256", key, "#{request["webhook-id"]}.#{sent}.".b + body)].pack("m0")
  end
  pairs = request["webhook-signature"].to_s.split.product(right)
  pairs.any? { |one, other| OpenSSL.secure_compare(one, other) } && (Time.now.to_i - sent.to_i).abs < 300
end

server = WEBrick::HTTPServer.new(BindAddress: "127.0.0.1", Port: ENV.fetch("PORT", 8080).to_i, AccessLog: [])
server.mount_proc("/") do |request, response|
  body = request.body.to_s.b
  response.status, made = signed?(request, body) ? answer(request["webhook-id"], JSON.parse(body)) : [401, {}]
  response.body = made.to_json
rescue JSON::ParserError
  response.status = 400
end
server.start
