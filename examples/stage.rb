# A stage of Conveyor in Ruby, with nothing but what comes with it. It refuses large orders.
#
#     SIGNING_SECRET=whsec_... PORT=8080 STATE=stage.pstore ruby examples/stage.rb
#
# docs/http-stages.md is the contract. SIGNING_SECRET may be several secrets, separated by spaces, while one is replaced.
require "json"
require "openssl"
require "pstore"
require "webrick"

STATE = PStore.new(ENV.fetch("STATE", "stage.pstore"), true)

# The business.
def check(order)
  order["total"] > 500_000 ? { reject: "too large" } : { done: { owed: order["total"] } }
end

# The same key gets the same answer, and an undo wins over its run, whichever comes first.
def answer(key, request)
  STATE.transaction do
    next [410, {}] if request["operation"] == "run" && STATE["#{key}:undo"]
    STATE[key] ||= request["operation"] == "undo" ? { done: {} } : check(request["order"])
    [200, STATE[key]]
  end
end

# By Standard Webhooks, over the bytes as they came, within the last five minutes.
def signed?(request, body)
  sent = request["webhook-timestamp"].to_s
  return false unless sent.match?(/\A\d+\z/) && (Time.now.to_i - sent.to_i).abs <= 300
  signed = "#{request["webhook-id"]}.#{sent}.".b + body
  right = ENV.fetch("SIGNING_SECRET").split.map do |secret|
    "v1," + [OpenSSL::HMAC.digest("SHA256", secret.delete_prefix("whsec_").unpack1("m"), signed)].pack("m0")
  end
  given = request["webhook-signature"].to_s.split
  given.product(right).any? { |one, other| OpenSSL.secure_compare(one, other) }
end

server = WEBrick::HTTPServer.new(BindAddress: "127.0.0.1", Port: ENV.fetch("PORT", 8080).to_i, AccessLog: [])
server.mount_proc("/") do |request, response|
  body = request.body.to_s.b
  response["content-type"] = "application/json"
  response.status, made =
    if request.request_method != "POST" then [405, {}]
    elsif !signed?(request, body) then [401, {}]
    else
      begin
        answer(request["webhook-id"], JSON.parse(body))
      rescue JSON::ParserError
        [400, {}]
      end
    end
  response.body = JSON.generate(made)
end
%w[INT TERM].each { |signal| trap(signal) { server.shutdown } }
server.start
