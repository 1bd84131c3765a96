<?php
// A stage of Conveyor in PHP, without any package. It refuses large orders.
//
//     SIGNING_SECRET=whsec_... STATE=state php -S 127.0.0.1:8080 examples/stage.php
//
// docs/http-stages.md is the contract. SIGNING_SECRET may be several secrets, separated by spaces, while one is replaced.

/** The business. */
function check(array $order): array {
    return $order['total'] > 500_000 ? ['reject' => 'too large'] : ['done' => ['owed' => $order['total']]];
}

/** The same key gets the same answer, and an undo wins over its run, whichever comes first. Use your database instead. */
function answer(string $key, array $request): array {
    $folder = getenv('STATE') ?: sys_get_temp_dir() . '/stage';
    @mkdir($folder);
    $lock = fopen("$folder/lock", 'c');
    flock($lock, LOCK_EX);
    $file = fn(string $id) => "$folder/" . hash('sha256', $id);
    if ($request['operation'] === 'run' && is_file($file("$key:undo"))) return [410, '{}'];
    if (!is_file($file($key))) {
        $made = $request['operation'] === 'undo' ? ['done' => (object) []] : check($request['order']);
        file_put_contents($file($key), json_encode($made));
    }
    return [200, file_get_contents($file($key))];
}

/** By Standard Webhooks, over the bytes as they came, within the last five minutes. */
function isSigned(string $body): bool {
    $sent = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
    if (!ctype_digit($sent) || abs(time() - (int) $sent) > 300) return false;
    $signed = ($_SERVER['HTTP_WEBHOOK_ID'] ?? '') . ".$sent.$body";
    foreach (explode(' ', getenv('SIGNING_SECRET')) as $secret) {
        $key = base64_decode(preg_replace('/^whsec_/', '', $secret));
        $right = 'v1,' . base64_encode(hash_hmac('sha256', $signed, $key, true));
        foreach (explode(' ', $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '') as $given)
            if (hash_equals($right, $given)) return true;
    }
    return false;
}

$body = file_get_contents('php://input');
$request = json_decode($body, true);
[$status, $text] = match (true) {
    $_SERVER['REQUEST_METHOD'] !== 'POST' => [405, '{}'],
    !isSigned($body) => [401, '{}'],
    !is_array($request) => [400, '{}'],
    default => answer($_SERVER['HTTP_WEBHOOK_ID'], $request),
};
http_response_code($status);
header('content-type: application/json');
echo $text;
