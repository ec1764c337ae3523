#include "svid/der.h"

#include <gtest/gtest.h>
#include <openssl/err.h>

#include "tests/unit/svid/certificates.h"
#include "tests/unit/svid/der_of.h"

namespace bulkhead {
namespace {

using namespace test;

template <class T>
std::string error_of(const Expected<T>& read) {
  EXPECT_EQ(ERR_peek_error(), 0u);
  return read ? "none" : read.error().message;
}

struct Der : testing::Test {
  Issued root = issue(authority("root")), leaf = issue({}, &root);
  std::string one = der_of(leaf.certificate.get()), other = der_of(root.certificate.get()),
              key = der_of(leaf.key.get());
};

TEST_F(Der, Certificates_AreReadInTheirOrder) {
  auto read = certificates_from_der(one + other);
  ASSERT_TRUE(read);
  ASSERT_EQ(read->size(), 2u);
  EXPECT_EQ(X509_cmp((*read)[0].get(), leaf.certificate.get()), 0);
  EXPECT_EQ(X509_cmp((*read)[1].get(), root.certificate.get()), 0);
}

TEST_F(Der, NoCertificate_IsAnError) {
  EXPECT_EQ(error_of(certificates_from_der("")), "holds no certificate");
}

TEST_F(Der, WhatIsNoCertificate_IsCounted) {
  EXPECT_EQ(error_of(certificates_from_der("x")), "certificate 1 can't be read as DER");
  EXPECT_EQ(error_of(certificates_from_der(one + "x")), "certificate 2 can't be read as DER");
  EXPECT_EQ(error_of(certificates_from_der(one + other.substr(0, other.size() - 1))),
            "certificate 2 can't be read as DER");
}

TEST_F(Der, Keys_ArePkcs8AndWhole) {
  auto read = key_from_der(key);
  ASSERT_TRUE(read);
  EXPECT_EQ(EVP_PKEY_eq(read->get(), leaf.key.get()), 1);
  const std::string wrong = "can't be read as DER of a PKCS#8 key without a passphrase";
  EXPECT_EQ(error_of(key_from_der("")), wrong);
  EXPECT_EQ(error_of(key_from_der(key + "x")), wrong);
  EXPECT_EQ(error_of(key_from_der(key.substr(0, key.size() - 1))), wrong);
  std::string traditional(256, '\0');
  auto* to = reinterpret_cast<unsigned char*>(traditional.data());
  int bytes = i2d_PrivateKey(leaf.key.get(), &to);
  ASSERT_GT(bytes, 0);
  traditional.resize(static_cast<size_t>(bytes));
  EXPECT_EQ(error_of(key_from_der(traditional)), wrong);
}

TEST_F(Der, Crls_AreWhole) {
  std::string crl = der_of(revoke(root, {leaf.certificate.get()}).get());
  EXPECT_EQ(error_of(crl_from_der(crl)), "none");
  EXPECT_EQ(error_of(crl_from_der(crl + "x")), "can't be read as DER of a CRL");
  EXPECT_EQ(error_of(crl_from_der("")), "can't be read as DER of a CRL");
}

}  // namespace
}  // namespace bulkhead
