-- Compares the ciphers of fastwire.lua, which is loaded before, with published vectors. Prints a line for each.

local c = require("fastwire.crypto")

local function unhex(s)
    return (s:gsub("%s", ""):gsub("..", function(pair) return string.char(tonumber(pair, 16)) end))
end

local function tohex(s)
    return (s:gsub(".", function(byte) return string.format("%02x", byte:byte()) end))
end

local function check(name, got, expected)
    expected = expected:gsub("%s", "")
    got = got and tohex(got) or "nothing"
    print((got == expected and "ok " or "wrong ") .. name .. (got == expected and "" or " " .. got))
end

check("SHA-256, FIPS 180-4", c.sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
check("SHA-256, two blocks", c.sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
    "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1")
check("HMAC, RFC 4231 case 2", c.hmac("Jefe", "what do ya want for nothing?"),
    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
check("HKDF-Expand, RFC 5869 A.1", c.expand(unhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"),
    unhex("f0f1f2f3f4f5f6f7f8f9"), 42),
    "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
check("AES-128, FIPS 197 C.1", c.aes(unhex("000102030405060708090a0b0c0d0e0f"), unhex("00112233445566778899aabbccddeeff")),
    "69c4e0d86a7b0430d8cdb78070b4c55a")
-- McGrew and Viega's test case 4
check("AES-128-GCM, case 4", c.open_gcm(unhex("feffe9928665731c6d6a8f9467308308"), unhex("cafebabefacedbaddecaf888"),
    unhex("feedfacedeadbeeffeedfacedeadbeefabaddad2"),
    unhex([[42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091
        5bc94fbc3221a5db94fae95ae7121a47]])),
    [[d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39]])
check("ChaCha20, RFC 8439 2.3.2", c.chacha(unhex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"), 1,
    unhex("000000090000004a00000000")),
    [[10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4ed2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e]])
check("Poly1305, RFC 8439 2.5.2", c.poly1305(unhex("85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b"),
    "Cryptographic Forum Research Group"), "a8061dc1305136c6c22b8baf0c0127a9")
local sealed = unhex([[d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905
    d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691]])
local key, nonce = unhex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"), unhex("070000004041424344454647")
local aad = unhex("50515253c0c1c2c3c4c5c6c7")
check("ChaCha20-Poly1305, RFC 8439 2.8.2", c.open_chacha(key, nonce, aad, sealed),
    tohex("Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."))
check("HChaCha20, draft-irtf-cfrg-xchacha 2.2.1", c.hchacha(unhex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
    unhex("000000090000004a0000000031415927")), "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc")
check("XChaCha20-Poly1305, draft-irtf-cfrg-xchacha A.3.1", c.open_xchacha(key, unhex("404142434445464748494a4b4c4d4e4f5051525354555657"), aad,
    unhex([[bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452
        2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff921f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49]])),
    tohex("Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."))
-- three literals, nine bytes that repeat them, and one more
check("LZ4 block format", c.lz4(unhex("3561626303001064"), 13), tohex("abcabcabcabcd"))
local bent = sealed:sub(1, -2) .. string.char((sealed:byte(-1) + 1) % 256)
print(c.open_chacha(key, nonce, aad, bent) == nil and "ok a wrong tag opens nothing" or "wrong tag")
