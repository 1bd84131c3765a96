<?php
// A stage of Conveyor in PHP, without any package. It refuses large orders.
//     SIGNING_SECRET=whsec_... STATE=stage php -S 127.0.0.1:8080 examples/stage.php
// docs/http-stages.md is the contract. SIGNING_SECRET may be several secrets, separated by spaces, while one is replaced.

function check(array $order): array {
    return $order['total'] > 500_000 ? ['reject' => 'too large'] : ['done' => ['owed' => $order['total']]];
}

// The same id gets the same answer, and an undo wins over its run, whichever comes first. Use your database instead of files.
function answer(string $id, array $request): array {
    $file = fn(string $name) => (getenv('STATE') ?: '/tmp/stage') . '-' . hash('sha256', $name);
    flock($lock = fopen($file('lock'), 'c'), LOCK_EX);
    if (is_file($file("$id:undo"))) return [410, '{}'];
    if (!is_file($file($id))) {
        $made = $request['operation'] === 'undo' ? ['done' => (object) []] : check($request['order']);
        file_put_contents($file($id), json_encode($made));
    }
    return [200, file_get_contents($file($id))];
}

// By Standard Webhooks, over the bytes as they came, within the last five minutes.
function isSigned(string $id, string $sent, string $body): bool {
    $given = explode(' ', $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '');
    foreach (explode(' ', getenv('SIGNING_SECRET')) as $secret) {
        $mac = hash_hmac('sha256', "$id.$sent.$body", base64_decode(substr($secret, strlen('whsec_'))), true);
        foreach ($given as $each)
            if (hash_equals('v1,' . base64_encode($mac), $each)) return abs(time() - (int) $sent) < 300;
    }
    return false;
}

[$id, $body] = [$_SERVER['HTTP_WEBHOOK_ID'] ?? '', file_get_contents('php://input')];
$request = json_decode($body, true);
[$status, $text] = match (true) {
    !isSigned($id, $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '', $body) => [401, '{}'],
    !is_array($request) => [400, '{}'],
    default => answer($id, $request),
};
http_response_code($status);
echo $text;
